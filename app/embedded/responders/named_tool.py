"""The function that a question names, and its arguments, for a responder without a model."""

import re
from collections.abc import AsyncGenerator

import orjson

from app.embedded.items import output_text
from app.embedded.responders.arguments import example_arguments
from app.embedded.responders.base import CallArguments, CallEnd, CallStart, Piece, Turn
from app.embedded.wire import Json

_LEADING = re.compile(r"^\W*(?:(?:in|of|for|with)\b)?\W*", re.IGNORECASE)


def new_outputs(turn: Turn) -> list[str]:
    """Return the outputs that the turn brings for calls."""
    return [output_text(item) for item in turn.fresh if item["type"] == "function_call_output"]


def named_tool(turn: Turn) -> tuple[Json, Json] | None:
    """Return the function that the question names, as it is or in plain words, and the arguments for it.

    Arguments are the JSON object in the question, else what follows the name if the function needs one text,
    else examples.
    """
    if turn.tool_choice == "none":
        return None
    found = [(tool, match) for tool in turn.tools if (match := _mention(tool, turn.prompt))]
    if not found:
        return None
    # `stock` must not win over `stock_of_shop`.
    tool, match = max(found, key=lambda each: len(each[1].group()))
    return tool, _arguments(tool.get("parameters") or {}, turn.prompt[match.end() :])


async def call_pieces(tool: Json, arguments: Json) -> AsyncGenerator[Piece, None]:
    """Call a function."""
    yield CallStart(tool["name"])
    yield CallArguments(orjson.dumps(arguments).decode())
    yield CallEnd()


def _mention(tool: Json, question: str) -> re.Match[str] | None:
    name = str(tool.get("name") or "") if tool["type"] == "function" else ""
    words = [re.escape(word) for word in re.split("[_-]+", name) if word]
    pattern = rf"(?<![A-Za-z0-9]){'[ _-]+'.join(words)}(?![A-Za-z0-9])"
    return re.search(pattern, question, re.IGNORECASE) if words else None


def _arguments(parameters: Json, rest: str) -> Json:
    start = rest.find("{")
    if start >= 0:
        try:
            found = orjson.loads(rest[start : rest.rfind("}") + 1])
        except orjson.JSONDecodeError:
            found = None
        if isinstance(found, dict):
            return found
    required, properties = parameters.get("required") or [], parameters.get("properties") or {}
    text = _LEADING.sub("", rest, count=1).strip(" \t\n?!.,\"'“”")
    if text and len(required) == 1 and _is_text(properties.get(required[0], {})):
        return {required[0]: text}
    return example_arguments(parameters)


def _is_text(schema: Json) -> bool:
    return schema.get("type") == "string" and "enum" not in schema
