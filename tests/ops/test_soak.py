"""A short soak: every fault once. The long one is `python -m bench.soak`."""

import pytest

from bench.soak import Report, Soak

SECONDS = 16


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_lost_doubled_or_leaked(tmp_path):
    report = await Soak(tmp_path).run(SECONDS)
    assert report.must_be_zero == dict.fromkeys(report.must_be_zero, 0)
    assert report.turns > 0
    assert set(report.requests) == {"chat", "stream", "aborted stream", "resumed run", "tool run", "upload"}


@pytest.mark.parametrize(
    "wrong",
    [
        {"lost": ["text"]},
        {"doubled": ["text"]},
        {"leaked_files": 1},
        {"leaked_tasks": 1},
        {"leaked_streams": 1},
        {"upstream_streams": 1},
        {"memory_kib_per_minute": 5_000, "seconds": 600},
    ],
)
def test_whatever_is_not_zero_fails_the_release(wrong):
    assert not Report(**wrong).is_good
    assert Report(seconds=600).is_good
