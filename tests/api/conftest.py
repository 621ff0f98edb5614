"""The service with tools of its own, before a model with given answers; and with pages of few words."""

import builtins
from pathlib import Path

import pytest

from app.api import pages
from tests.api.browsing import write_bundle
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


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of few words in the place of the built one."""
    folder = tmp_path / "web" / "dist"
    write_bundle(folder)
    monkeypatch.setattr(pages, "BUNDLE", folder)
    return folder
