"""Benchmarks: what a chat and a token cost here, side by side with the bare floor and the documented way."""
