"""How runs override the assistant is remembered as long as they live, and no longer."""

import pytest

from app.core.runs.overrides import RunOverrides
from app.translate.run_metadata import RunRounds

PARAMS = {"tools": [{"type": "mcp", "authorization": "secret"}], "metadata": RunRounds.start(["tools"])}
REPEATED = PARAMS | {"tools": [{"type": "mcp", "authorization": "<redacted>"}]}


@pytest.mark.parametrize(("age", "is_known"), [(0, True), (59, True), (61, False)])
async def test_overrides_are_forgotten_when_the_run_expires(monkeypatch, age, is_known):
    now = [1_000.0]
    monkeypatch.setattr("app.core.runs.overrides.time.monotonic", lambda: now[0])
    overrides = RunOverrides(None, 60)
    await overrides.keep("resp_1", PARAMS)
    now[0] += age
    found = await overrides.of("resp_1", REPEATED)
    assert found == {"tools": PARAMS["tools"] if is_known else []}
    assert bool(overrides._kept) == is_known
