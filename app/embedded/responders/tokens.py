"""Cuts text into pieces of about a token, as a model would stream it."""

import re

_TOKEN = re.compile(r"\s*\w+|\s*[^\w\s]+|\s+")


def tokens_of(text: str) -> list[str]:
    """Pieces that join to the text again."""
    return _TOKEN.findall(text)
