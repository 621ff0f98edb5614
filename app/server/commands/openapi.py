"""`python -m app.server.commands.openapi` prints the OpenAPI document, from which clients are generated."""

import sys

import orjson

from app.core.config import Settings
from main import create_app


def document() -> bytes:
    """Return the document of a service with default settings as indented JSON."""
    app = create_app(Settings(_env_file=None))
    return orjson.dumps(app.openapi(), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


if __name__ == "__main__":
    sys.stdout.buffer.write(document())
