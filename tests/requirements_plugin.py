"""Deselects tests whose tools this machine lacks, and says so at the end."""

import importlib.util
import shutil

import pytest

TOOLS = {
    "needs_redis": ("redis-server", lambda: shutil.which("redis-server")),
    "needs_nginx": ("nginx or curl", lambda: shutil.which("nginx") and shutil.which("curl")),
    "needs_systemd": ("systemd-analyze", lambda: shutil.which("systemd-analyze")),
    "needs_helm": ("the package helm-python-sdk", lambda: importlib.util.find_spec("helm_python")),
}
_MISSING = pytest.StashKey[dict[str, int]]()


def pytest_configure(config):
    for marker, (tool, _) in TOOLS.items():
        config.addinivalue_line("markers", f"{marker}: runs where {tool} is installed")
    config.stash[_MISSING] = {}


def pytest_collection_modifyitems(config, items):
    missing = {marker for marker, (_, find) in TOOLS.items() if not find()}
    kept: list[pytest.Item] = []
    left: list[pytest.Item] = []
    for item in items:
        lacking = [marker for marker in missing if item.get_closest_marker(marker)]
        (left if lacking else kept).append(item)
        for marker in lacking:
            counts = config.stash[_MISSING]
            counts[marker] = counts.get(marker, 0) + 1
    if left:
        config.hook.pytest_deselected(items=left)
        items[:] = kept


def pytest_terminal_summary(terminalreporter, config):
    for marker, count in config.stash[_MISSING].items():
        terminalreporter.write_line(f"not run: {count} tests, as {TOOLS[marker][0]} is not installed here")
