"""What the embedded upstream keeps: one SQLite file, one module a resource."""
