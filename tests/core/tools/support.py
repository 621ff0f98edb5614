"""Toolboxes made of source text."""

from pathlib import Path
from textwrap import dedent
from typing import Any

from app.core.observability.metrics import Metrics
from app.core.tools.port import ToolCall, ToolResult
from app.core.tools.toolbox import Toolbox
from app.tools import Caller
from tests.support import make_settings

HEAD = "from app.tools import Caller, ToolError, tool\n"
CALLER = Caller("user_1", "thread_1", "run_1", {"sub": "user_1"})


def module(folder: Path, source: str, name: str = "my_tools.py") -> str:
    file = folder / name
    file.write_text(HEAD + dedent(source), encoding="utf-8")
    return str(file)


def toolbox(folder: Path, source: str, metrics: Metrics | None = None, **settings: Any) -> Toolbox:
    return Toolbox.load(make_settings(tools_module=module(folder, source), **settings), metrics)


async def called(box: Toolbox, name: str, arguments: str = "{}", caller: Caller = CALLER) -> ToolResult:
    return await box.execute(ToolCall(f"call_{name}", name, arguments, caller))


def outcome(result: ToolResult) -> tuple[str, str]:
    return result.outcome, result.output
