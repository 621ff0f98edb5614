"""Runs: starting, following, reading and ending them."""
