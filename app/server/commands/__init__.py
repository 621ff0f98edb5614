"""The commands of `python main.py`, one a file."""
