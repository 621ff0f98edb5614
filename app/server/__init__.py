"""uvicorn as the service runs it, what opens and closes with the process, and the commands of main.py."""
