"""The service with tools of its own, before a model with given answers."""

import builtins

import pytest

from tests.api.scripted_tools import THEIRS, TOOLS


@pytest.fixture
def counted():
    """How often a tool was called."""
    gate = builtins.__dict__.setdefault("_tool_gate", {})
    gate.clear()
    yield lambda: gate.get("calls", 0)
    gate.clear()


@pytest.fixture
def before(start, tmp_path, counted):
    """Start the service before an upstream that answers with these outputs."""
    path = tmp_path / "my_tools.py"
    path.write_text(TOOLS)

    def begin(upstream, **settings):
        chosen = {"assistant_tools": [THEIRS], "tools_module": str(path), **settings}
        return start(url=upstream.url, is_served=True, **chosen)

    return begin
