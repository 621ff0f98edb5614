"""Progress of the command: a bar on a terminal, lines elsewhere."""

from typing import TextIO

from app.knowledge.sync import Kind, Step

_MARKS: dict[Kind, str] = {"add": "+", "change": "~", "remove": "-", "wait": "=", "reject": "!"}
_BAR_CHARS = 24
_CLEAR_LINE = "\r\x1b[K"


def described(step: Step) -> str:
    """Return a line for a planned or finished step."""
    return f"{_MARKS[step.kind]} {_printable(step.path)}"


class Progress:
    """Shows how many of the steps are done."""

    def __init__(self, total: int, out: TextIO) -> None:
        self._total = total
        self._done = 0
        self._out = out
        self._is_terminal = out.isatty()

    def report(self, step: Step, failure: str | None) -> None:
        """Show that a step is done, or why it failed."""
        self._done += 1
        if failure is not None:
            self._line(f"! {_printable(step.path)}: {failure}")
        elif not self._is_terminal:
            self._line(described(step))
        if self._is_terminal:
            self._draw(step)

    def close(self) -> None:
        """Remove the bar."""
        if self._is_terminal:
            self._out.write(_CLEAR_LINE)
            self._out.flush()

    def _line(self, text: str) -> None:
        self._out.write(f"{_CLEAR_LINE if self._is_terminal else ''}{text}\n")
        self._out.flush()

    def _draw(self, step: Step) -> None:
        filled = _BAR_CHARS * self._done // max(1, self._total)
        bar = "#" * filled + "." * (_BAR_CHARS - filled)
        self._out.write(f"{_CLEAR_LINE}[{bar}] {self._done}/{self._total} {_printable(step.path)[-60:]}")
        self._out.flush()


def _printable(path: str) -> str:
    """Return a path without control characters, which could steer a terminal."""
    return "".join(char if char.isprintable() else "�" for char in path)
