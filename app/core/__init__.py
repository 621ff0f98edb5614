"""Services and the concerns they share; the only package that performs I/O."""
