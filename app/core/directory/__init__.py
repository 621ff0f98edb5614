"""The directory of threads: which threads each owner has, kept in the store."""
