"""The scripted responder: deterministic answers for tests, steered by the prompt.

`slow:N` N words (400 without a number) at 20 ms each, `long:N` N words at once, `sleep:MS text` waits first,
`fail:CODE` fails, `fail-late:CODE` fails after some words, `refuse:` refuses, `incomplete:` stops early,
`cite:` or `files:` cites an attached file, `rounds:N` calls the first function N times in turn, `calls:N` the
first N functions at once, the word "tool" calls one, "tools" or "parallel" the first one twice at once,
"chart" draws one when code interpreter is offered; `think:` reasons before the answer; all else is echoed.
"""

import asyncio
import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

import orjson

from app.embedded.items import output_text
from app.embedded.reasoning import sealed_reasoning
from app.embedded.responders.arguments import example_arguments
from app.embedded.responders.base import (
    Annotation,
    CallArguments,
    CallEnd,
    CallStart,
    HostedTool,
    Incomplete,
    Piece,
    Refusal,
    ResponderError,
    TextDelta,
    Turn,
)
from app.embedded.responders.chart import chart_pieces, wants_chart
from app.embedded.responders.tokens import tokens_of
from app.embedded.wire import Json

Pieces = AsyncGenerator[Piece, None]

_COMMAND = re.compile(r"\s*([a-z-]+):\s*(.*)", re.DOTALL)
_SLOW_WORDS, _SLOW_SECONDS = 400, 0.02
_ARGUMENT_CHARS = 8
_MAX_LONG_WORDS = 200_000
_MAX_SLEEP_MS = 600_000
_STORY = ("The", " sea", " was", " calm", " and", " wide", " that", " day", ".", " ")


class ScriptedResponder:
    """Answers the same to the same, always."""

    def __init__(self, model: str, seed: int) -> None:
        self.model = model
        self._seed = seed

    def answer(self, turn: Turn) -> Pieces:
        """The pieces that the last user message, or the tool outputs after it, ask for."""
        command, rest = _command(turn.prompt)
        pieces = self._pieces(turn, command, rest)
        if command != "think":
            return pieces
        return _thought_through(pieces, sealed_reasoning(turn.model, self._seed))

    def _pieces(self, turn: Turn, command: str, rest: str) -> Pieces:
        rounds = _number(rest) if command == "rounds" else 0
        functions = _functions(turn)
        if command == "calls" and turn.items[-1]["type"] != "function_call_output":
            return _calls(functions[: _number(rest)])
        if turn.items[-1]["type"] == "function_call_output":
            if functions and _calls_since_prompt(turn) < rounds:
                return _calls(functions[:1])
            return _quote_outputs(turn)
        if functions and (rounds or (wanted := _wanted_calls(turn, functions))):
            return _calls(functions[:1] if rounds else wanted)
        if wants_chart(turn):
            return chart_pieces(turn, "Here is the chart:")
        handler = _COMMANDS.get(command)
        return handler(turn, rest) if handler else _say(f"You said: {turn.prompt or 'nothing'}")


def _command(prompt: str) -> tuple[str, str]:
    found = _COMMAND.match(prompt)
    return (found.group(1), found.group(2)) if found else ("", "")


def _number(text: str, default: int = 1) -> int:
    found = re.match(r"\d{1,9}", text)
    return int(found.group()) if found else default


def _functions(turn: Turn) -> list[Json]:
    """The functions that may be called, the forced one first."""
    functions = [tool for tool in turn.tools if tool["type"] == "function" and tool.get("name")]
    choice = turn.tool_choice
    if choice == "none":
        return []
    if isinstance(choice, dict) and choice.get("type") == "function":
        return [tool for tool in functions if tool["name"] == choice.get("name")]
    return functions


def _wanted_calls(turn: Turn, functions: list[Json]) -> list[Json]:
    words = set(re.findall(r"\w+", turn.prompt.lower()))
    if turn.parallel_tool_calls and words & {"tools", "parallel"}:
        return functions[:1] * 2
    forced = turn.tool_choice == "required" or isinstance(turn.tool_choice, dict)
    return functions[:1] if forced or words & {"tool", "tools"} else []


def _calls_since_prompt(turn: Turn) -> int:
    calls = 0
    for item in reversed(turn.items):
        if item["type"] == "message" and item["role"] == "user":
            break
        calls += item["type"] == "function_call"
    return calls


async def _calls(functions: list[Json]) -> Pieces:
    for function in functions:
        yield CallStart(function["name"])
        text = orjson.dumps(example_arguments(function.get("parameters"))).decode()
        for at in range(0, len(text), _ARGUMENT_CHARS):
            yield CallArguments(text[at : at + _ARGUMENT_CHARS])
        yield CallEnd()


async def _say(text: str) -> Pieces:
    for token in tokens_of(text):
        yield TextDelta(token)


async def _thought_through(pieces: Pieces, sealed: str) -> Pieces:
    yield HostedTool("rs", {"type": "reasoning", "summary": [], "encrypted_content": sealed})
    async with aclosing(pieces):
        async for piece in pieces:
            yield piece


def _quote_outputs(turn: Turn) -> Pieces:
    outputs: list[str] = []
    for item in reversed(turn.items):
        if item["type"] != "function_call_output":
            break
        outputs.insert(0, output_text(item))
    return _say(f"The tool answered: {'; '.join(outputs)}")


async def _slow(turn: Turn, rest: str) -> Pieces:
    for index in range(min(_number(rest, _SLOW_WORDS), _MAX_LONG_WORDS)):
        await asyncio.sleep(_SLOW_SECONDS)
        yield TextDelta(f"word{index} ")


async def _long(turn: Turn, rest: str) -> Pieces:
    for index in range(min(_number(rest), _MAX_LONG_WORDS)):
        yield TextDelta(_STORY[index % len(_STORY)])


async def _sleep(turn: Turn, rest: str) -> Pieces:
    await asyncio.sleep(min(_number(rest), _MAX_SLEEP_MS) / 1000)
    for token in tokens_of(f"You said: {rest}"):
        yield TextDelta(token)


def _fail(turn: Turn, rest: str) -> Pieces:
    return _break_off("", rest)


def _fail_late(turn: Turn, rest: str) -> Pieces:
    return _break_off("This answer will not be finished", rest)


async def _break_off(text: str, rest: str) -> Pieces:
    for token in tokens_of(text):
        yield TextDelta(token)
    found = re.match(r"[a-z_]+", rest)
    code = found.group() if found else "server_error"
    raise ResponderError(code, f"The scripted responder failed as it was told: {code}.")


async def _refuse(turn: Turn, rest: str) -> Pieces:
    yield Refusal("I'm sorry, but I can't help with that.")


async def _incomplete(turn: Turn, rest: str) -> Pieces:
    for token in tokens_of("This answer stops before its"):
        yield TextDelta(token)
    yield Incomplete("max_output_tokens")


async def _cite(turn: Turn, rest: str) -> Pieces:
    names = await turn.resources.filenames(turn.attached_file_ids())
    found = next(iter(names.items()), None)
    if turn.has_tool("file_search"):
        hits = await turn.resources.search_files(rest, [], turn.vector_store_ids(), 1)
        found = found or next(((hit.file_id, hit.filename) for hit in hits), None)
        results = [hit.result() for hit in hits]
        yield HostedTool("fs", {"type": "file_search_call", "queries": [rest], "results": results})
    text = f"According to the file, {rest or 'all is well'}." if found else "There is no file to cite."
    for token in tokens_of(text):
        yield TextDelta(token)
    if found:
        file_id, filename = found
        place = {"file_id": file_id, "filename": filename, "index": len(text) - 1}
        yield Annotation({"type": "file_citation", **place})


_COMMANDS: dict[str, Callable[[Turn, str], Pieces]] = {
    "slow": _slow,
    "long": _long,
    "sleep": _sleep,
    "fail": _fail,
    "fail-late": _fail_late,
    "refuse": _refuse,
    "incomplete": _incomplete,
    "cite": _cite,
    "files": _cite,
}
