"""What the routers call: one class for each resource of the API."""
