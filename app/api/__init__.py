"""The HTTP layer: one router a file."""
