"""The uvicorn server, the lifespan, and the commands of main.py."""
