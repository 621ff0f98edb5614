"""Pure functions between upstream objects and events, and our wire. No I/O."""
