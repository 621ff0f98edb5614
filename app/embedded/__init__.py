"""The embedded upstream: OpenAI's Responses and Conversations wire, spoken offline by a small ASGI app.

It stands beside the service and is reached only over its socket, so it imports nothing else of `app`.
"""
