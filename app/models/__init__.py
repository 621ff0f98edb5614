"""Schemas of the public API."""
