"""HTTP only: one router a file."""
