"""How pytest runs this suite: `--quick`, the number of workers, and tests whose tools this machine lacks."""

import importlib.util
import os
import shutil
from collections import Counter
from pathlib import Path

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
# Debian keeps the server's programs off PATH, in a folder for each major version.
_INITDB = shutil.which("initdb") or max(
    map(str, Path("/usr/lib/postgresql").glob("*/bin/initdb")), default=None
)
POSTGRES_PROGRAMS = _INITDB and str(Path(_INITDB).parent)
TOOLS = {
    "needs_redis": ("redis-server", lambda: shutil.which("redis-server")),
    "needs_postgres": ("postgresql", lambda: POSTGRES_PROGRAMS),
    "needs_nginx": ("nginx or curl", lambda: shutil.which("nginx") and shutil.which("curl")),
    "needs_caddy": ("caddy", lambda: shutil.which("caddy")),
    "needs_systemd": ("systemd-analyze", lambda: shutil.which("systemd-analyze")),
    "needs_helm": ("the package helm-python-sdk", lambda: importlib.util.find_spec("helm_python")),
    "needs_browser": ("chromium or npm", lambda: CHROMIUM and shutil.which("npm")),
    "needs_node": ("node", lambda: shutil.which("node")),
    "needs_php": ("php", lambda: shutil.which("php")),
}
# Most of their tests take seconds, so they start first: no worker is left with one of them at the end.
LONG_FOLDERS = {"ops", "web"}
_LEFT_OUT = pytest.StashKey[Counter[str]]()


def pytest_addoption(parser):
    parser.addoption("--quick", action="store_true", help="leave out the tests that are marked slow")


def pytest_configure(config):
    for marker, (tool, _) in TOOLS.items():
        config.addinivalue_line("markers", f"{marker}: runs where {tool} is installed")
    config.stash[_LEFT_OUT] = Counter()


@pytest.hookimpl(optionalhook=True, tryfirst=True)
def pytest_xdist_auto_num_workers(config):
    """Say what `-n auto` means: one worker more than cores, as tests also wait; none for a single file."""
    if len(config.args) == 1 and ".py" in config.args[0]:
        return 0
    return (os.cpu_count() or 1) + 1


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config, items):
    reasons = {
        marker: f"{tool} is not installed here" for marker, (tool, find) in TOOLS.items() if not find()
    }
    if config.option.quick:
        reasons["slow"] = "--quick leaves the slow ones out"
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        found = [reason for marker, reason in reasons.items() if item.get_closest_marker(marker)]
        (left if found else kept).append(item)
        config.stash[_LEFT_OUT].update(found)
    if left:
        config.hook.pytest_deselected(items=left)
    items[:] = sorted(kept, key=_is_short)


def _is_short(item):
    return not (item.get_closest_marker("slow") or item.path.parent.name in LONG_FOLDERS)


def pytest_sessionfinish(session):
    """In a worker, tell the process that started it what was left out."""
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["left_out"] = dict(session.config.stash[_LEFT_OUT])


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node, error):
    # Every worker collects all tests, so each of them tells the same; one that crashed tells nothing.
    node.config.stash[_LEFT_OUT] |= Counter(getattr(node, "workeroutput", {}).get("left_out", {}))


def pytest_terminal_summary(terminalreporter, config):
    for reason, count in config.stash[_LEFT_OUT].items():
        terminalreporter.write_line(f"not run: {count} tests, as {reason}")
