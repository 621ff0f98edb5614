"""What metadata remembers of runs: within the upstream's limits, readable again, never in a client's way."""

import pytest

from app.translate.run_metadata import (
    RunHistory,
    RunRounds,
    moment_of,
    private_metadata,
    public_metadata,
    usage_object,
    without_history,
)

BEGAN = 1_790_000_000


def real_id(number, prefix="resp"):
    """An id as OpenAI makes them: entropy, the time, more entropy."""
    return f"{prefix}_{number:016x}00{BEGAN + number:08x}{number:024x}"


def again(history):
    return RunHistory.read(history.metadata())


class TestHistory:
    def test_runs_are_remembered_newest_first(self):
        history = RunHistory.read({})
        for number in range(3):
            history.add_run(real_id(number))
        history.add_run(real_id(1))
        assert again(history).run_ids == [real_id(2), real_id(1), real_id(0)]

    def test_the_oldest_beyond_what_fits_are_forgotten(self):
        history = RunHistory.read(None)
        for number in range(40):
            history.add_run(real_id(number))
            history.set_round(real_id(number), real_id(number + 1000))
        stored = history.metadata()
        assert stored.keys() == {"soloist_runs", "soloist_run"}
        assert all(len(value) <= 512 for value in stored.values())
        kept = again(history)
        assert kept.run_ids == [real_id(number) for number in range(39, 39 - len(kept.run_ids), -1)]
        assert len(kept.run_ids) >= 8
        assert kept.current_of(real_id(39)) == real_id(1039)

    @pytest.mark.parametrize("run_id", [real_id(5), "gen-1", "resp_short", "other_1"])
    def test_ids_of_any_upstream_come_back(self, run_id):
        history = RunHistory.read({})
        history.add_run(run_id)
        history.set_round(run_id, "next_1")
        found = again(history)
        assert found.run_ids == [run_id]
        assert found.current_of(run_id) == "next_1"

    def test_a_round_and_an_end(self):
        history = RunHistory.read({})
        assert (history.current_of("resp_1"), history.ended_as("resp_1")) == ("resp_1", None)
        history.set_round("resp_1", "resp_2")
        assert (again(history).current_of("resp_1"), again(history).ended_as("resp_1")) == ("resp_2", None)
        history.set_ended("resp_1", "expired")
        assert (again(history).current_of("resp_1"), again(history).ended_as("resp_1")) == (
            "resp_2",
            "expired",
        )
        history.set_ended("resp_9", "cancelled")
        assert (again(history).current_of("resp_9"), again(history).ended_as("resp_9")) == (
            "resp_9",
            "cancelled",
        )

    @pytest.mark.parametrize(
        "metadata",
        [
            None,
            5,
            [],
            {"soloist_runs": None},
            {"soloist_runs": ",,,"},
            {"soloist_runs": "a@zz", "soloist_run": ">"},
        ],
    )
    def test_what_cannot_be_read_counts_as_absent(self, metadata):
        history = RunHistory.read(metadata)
        assert history.current_of("resp_1") == "resp_1"
        history.add_run("resp_1")
        assert "resp_1" in again(history).run_ids

    def test_an_ended_run_remembers_its_round(self):
        history = RunHistory.read({})
        history.set_round("resp_1", "resp_2")
        history.set_ended("resp_1", "cancelled")
        history.set_ended("resp_3", "expired")
        history.set_round("other-4", "other-5")
        history.set_ended("other-4", "expired")
        read, ids = again(history), ("resp_1", "resp_3", "other-4", "resp_6")
        assert [read.current_of(first) for first in ids] == ["resp_2", "resp_3", "other-5", "resp_6"]
        assert [read.ended_as(first) for first in ids] == ["cancelled", "expired", "expired", None]


class TestMetadata:
    def test_ours_and_theirs_are_told_apart(self):
        metadata = {"topic": "x", "soloist_runs": "1", "soloist_run": "2", "soloist_resources": "{}"}
        assert public_metadata(metadata) == {"topic": "x"}
        assert private_metadata(metadata).keys() == metadata.keys() - {"topic"}
        assert without_history(metadata) == {"topic": "x", "soloist_resources": "{}"}
        nothings: tuple[object, ...] = (None, 5, "x", [])
        for nothing in nothings:
            assert public_metadata(nothing) == private_metadata(nothing) == without_history(nothing) == {}


class TestRounds:
    def test_tokens_and_time_add_up_over_the_rounds(self):
        first = {"id": "resp_1", "created_at": BEGAN, "usage": {"input_tokens": 3, "output_tokens": 2}}
        second = {"id": "resp_2", "created_at": BEGAN + 9, "metadata": RunRounds.follow(first)}
        second["usage"] = {"input_tokens": 10, "output_tokens": 5}
        third = {"id": "resp_3", "created_at": BEGAN + 20, "metadata": RunRounds.follow(second)}
        rounds = RunRounds.read(third)
        assert (rounds.first, rounds.previous, rounds.created_at) == ("resp_1", "resp_2", BEGAN)
        assert rounds.tokens == (13, 7)
        usage = usage_object({**third, "usage": {"input_tokens": 1, "output_tokens": 1}}, rounds.tokens)
        assert usage == {"prompt_tokens": 14, "completion_tokens": 8, "total_tokens": 22}

    def test_what_was_overridden_is_remembered(self):
        first = {"id": "resp_1", "metadata": RunRounds.start({"tools": [], "model": "x"})}
        assert RunRounds.read(first).marks == ["model", "tools"]
        second = {"id": "resp_2", "metadata": RunRounds.follow(first)}
        assert RunRounds.read(second).marks == ["model", "tools"]
        assert RunRounds.start({}) == {}

    @pytest.mark.parametrize("metadata", [None, {}, {"soloist_run": "x"}, {"soloist_run": "a,b,c,d"}, 5, []])
    def test_what_cannot_be_read_is_a_first_round(self, metadata):
        rounds = RunRounds.read({"id": "resp_1", "metadata": metadata})
        assert (rounds.first, rounds.previous, rounds.tokens, rounds.marks) == (None, None, (0, 0), [])

    @pytest.mark.parametrize(
        ("value", "moment"), [(5, 5), (5.9, 5), (0, None), (-1, None), (None, None), ("5", None)]
    )
    def test_moments(self, value, moment):
        assert moment_of(value) == moment
