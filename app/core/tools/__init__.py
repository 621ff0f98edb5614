"""Tools that the service runs itself."""
