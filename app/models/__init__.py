"""The public wire as Pydantic schemas."""
