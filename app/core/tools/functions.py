"""Functions of the operator's own file as tools: TOOLS_MODULE."""

import importlib
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any

from app.core.config import Settings
from app.core.tools.arguments import Arguments, is_name
from app.core.tools.output import text_of
from app.core.tools.port import ToolCall
from app.core.tools.threads import ToolThreads
from app.tools import GuardOptions, Options, marked, marked_guards
from app.translate.events import Json

# Places in these files say nothing about a mistake in the operator's.
_OURS = {__file__, sys.modules[Options.__module__].__file__}


class FunctionTool:
    """A function as a tool; raises `ValueError` for one that no model can call."""

    def __init__(
        self, function: Callable[..., Any], options: Options, settings: Settings, threads: ToolThreads
    ) -> None:
        self.name = options.name or str(getattr(function, "__name__", ""))
        if not is_name(self.name):
            raise ValueError("a name has 1 to 64 letters, digits, _ or -")
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise ValueError("it yields, and a tool returns")
        self.needs_approval = options.approval == "always"
        self.is_idempotent = options.idempotent
        self.timeout_seconds = options.timeout_seconds or settings.tool_timeout_seconds
        self.visible = options.visible
        self._function = function
        self._threads = threads
        self._max_bytes = settings.tool_max_output_bytes
        self._arguments = Arguments(function)
        self.spec: Json = {
            "type": "function",
            "function": {
                "name": self.name,
                "description": inspect.getdoc(function) or "",
                "parameters": self._arguments.schema,
                "strict": self._arguments.is_strict,
            },
        }

    async def run(self, arguments: Json, call: ToolCall) -> object:
        """Call the function, a plain one in a thread."""
        keywords = self._arguments.validated(arguments, call.caller)
        if inspect.iscoroutinefunction(self._function):
            return await self._function(**keywords)
        return await self._threads.run(partial(self._text, keywords))

    def _text(self, keywords: dict[str, Any]) -> str:
        # In the thread, because a large output takes long to write.
        return text_of(self._function(**keywords), self._max_bytes)


def load_functions(settings: Settings, threads: ToolThreads) -> list[FunctionTool]:
    """Return the tools of TOOLS_MODULE, none without one.

    Raises `ValueError`, in one line, for a module that cannot be imported, or for what cannot be a tool.
    """
    named = settings.tools_module
    if named is None:
        return []
    module = _imported(named)
    tools = []
    for function, options in marked:
        # Marked functions that the module imports are not its own.
        if getattr(function, "__module__", None) != module.__name__:
            continue
        try:
            tools.append(FunctionTool(function, options, settings, threads))
        except (ValueError, TypeError) as exc:
            name = options.name or getattr(function, "__name__", "?")
            raise ValueError(f"TOOLS_MODULE={named}: the tool {name!r}: {exc}") from exc
    if not tools and not guards_in(named):
        raise ValueError(
            f"TOOLS_MODULE={named}: no function in it is marked with @tool or @guard (from app.tools)"
        )
    return tools


def guards_in(named: str) -> list[tuple[Callable[..., Any], GuardOptions]]:
    """Return the guards of TOOLS_MODULE, which `load_functions` has imported."""
    name = _file_module(Path(named)) if _is_path(named) else named
    return [each for each in marked_guards if getattr(each[0], "__module__", None) == name]


def _imported(named: str) -> ModuleType:
    path, is_path = Path(named).expanduser(), _is_path(named)
    if is_path and not path.is_file():
        raise ValueError(f"TOOLS_MODULE={named}: there is no such file")
    try:
        return _executed(path.resolve()) if is_path else importlib.import_module(named)
    except BaseException as exc:
        raise ValueError(f"TOOLS_MODULE={named} cannot be imported: {_cause(exc)}") from exc


def _is_path(named: str) -> bool:
    return named.endswith(".py") or len(Path(named).parts) > 1


def _file_module(path: Path) -> str:
    return f"soloist_tools_{path.stem}"


def _executed(path: Path) -> ModuleType:
    """Execute a file as a module, anew each time, with the files beside it in reach."""
    name = _file_module(path)
    marked[:] = [each for each in marked if getattr(each[0], "__module__", None) != name]
    marked_guards[:] = [each for each in marked_guards if getattr(each[0], "__module__", None) != name]
    if str(path.parent) not in sys.path:
        sys.path.append(str(path.parent))
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError("it is no Python file")
    module = importlib.util.module_from_spec(spec)
    # pydantic and dataclasses look a class's module up by its name.
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def _cause(exc: BaseException) -> str:
    """Return an exception in one line, with the last line of the file that it came from."""
    if isinstance(exc, SyntaxError):
        return f"SyntaxError: {exc.msg} (line {exc.lineno})"
    frames = traceback.extract_tb(exc.__traceback__)
    places = [frame for frame in frames if "importlib" not in frame.filename and frame.filename not in _OURS]
    place = f" (line {places[-1].lineno} of {Path(places[-1].filename).name})" if places else ""
    return f"{type(exc).__name__}: {' '.join(str(exc).split())[:200]}{place}"
