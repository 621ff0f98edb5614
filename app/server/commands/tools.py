"""`python main.py tools`: list the tools that the service runs, or call one by hand."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import redirect_stdout
from typing import Any
from uuid import uuid4

import orjson

from app.core.assistant import load_assistant
from app.core.config import Settings
from app.core.logging import configure_logging
from app.core.tools.port import Tool, ToolCall, ToolResult
from app.core.tools.toolbox import Toolbox
from app.server.startup import settings_errors_told
from app.tools import Caller


def add_to(add_parser: Callable[..., ArgumentParser]) -> None:
    """Add the command to a parser's commands."""
    parser = add_parser("tools", help="list the tools that the service runs, or call one by hand")
    parser.set_defaults(run=run, name=None)
    commands = parser.add_subparsers(metavar="COMMAND")
    commands.add_parser("list", help="list the tools with their schemas; the same as no command")
    call = commands.add_parser("call", help="call a tool; exit status 1 if that fails")
    call.add_argument("name", metavar="NAME")
    call.add_argument(
        "arguments", metavar="JSON", nargs="?", default="{}", help='such as \'{"city":"Busan"}\''
    )
    call.add_argument("--user", metavar="ID", help="the user id that the tool's Caller has")


def run(given: Namespace, _create_app: Callable[..., Any]) -> int:
    """Run the command and return its exit status."""
    with settings_errors_told():
        settings = Settings()
        configure_logging(settings)
        with redirect_stdout(sys.stderr):  # what the operator's module prints is no output
            toolbox = Toolbox.load(settings)
        load_assistant(settings, toolbox.specs)
    if given.name is not None:
        return call_by_hand(toolbox, given)
    tools = [tool for name in sorted(toolbox.names) if (tool := toolbox.get(name))]
    sys.stdout.write(
        "".join(map(described, tools))
        or "No tools: set TOOLS_FILE, or TOOLS_MODULE with functions marked @tool.\n"
    )
    return 0


def described(tool: Tool) -> str:
    """Return a tool as lines of text: its name and properties, its description, its schema."""
    words = [f"{tool.timeout_seconds:g} s"]
    words += ["asks for approval"] if tool.needs_approval else []
    words += ["idempotent"] if tool.is_idempotent else []
    function = tool.spec["function"]
    words += ["strict schema"] if function["strict"] else []
    schema = orjson.dumps(function["parameters"], option=orjson.OPT_INDENT_2).decode()
    text = "\n".join(filter(None, [function["description"], schema]))
    return f"{tool.name} ({', '.join(words)})\n" + "".join(f"  {line}\n" for line in text.splitlines())


def call_by_hand(toolbox: Toolbox, given: Namespace) -> int:
    """Call a tool; its output goes to standard output, all else to standard error."""
    caller = Caller(user_id=given.user)
    call = ToolCall(f"call_{uuid4().hex}", given.name, given.arguments, caller)
    with redirect_stdout(sys.stderr):
        result = asyncio.run(_called(toolbox, call))
    sys.stdout.write(f"{result.output}\n")
    sys.stderr.write(f"{result.outcome}, {result.seconds:.3f} s\n")
    return int(result.outcome != "ok")


async def _called(toolbox: Toolbox, call: ToolCall) -> ToolResult:
    try:
        return await toolbox.execute(call)
    finally:
        await toolbox.aclose()
