"""Translates between the upstream's objects and events and the public wire. Pure: no I/O."""
