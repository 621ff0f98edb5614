"""ASGI middleware: request ids and access lines, authentication, CORS."""
