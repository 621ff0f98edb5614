"""JSON as the columns of the store hold it."""

import orjson


def json_text(value: object) -> str:
    """Return a value as JSON, for a column of text."""
    return orjson.dumps(value).decode()
