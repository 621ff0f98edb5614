"""The input that stands for a conversation: calls with their answers, reasoning with what it led to."""

import pytest

from app.translate.replay import (
    StoredItem,
    fitting,
    open_calls,
    repeated_answers,
    replayed,
    without_oldest_turns,
)

HERE, ELSEWHERE = "model-a", "model-b"


def user(text="hi"):
    return {
        "id": "msg_u",
        "type": "message",
        "role": "user",
        "status": "completed",
        "content": [{"type": "input_text", "text": text}],
    }


def answer(text="yes"):
    part = {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
    return {
        "id": "msg_a",
        "type": "message",
        "role": "assistant",
        "status": "completed",
        "content": [part],
        "created_at": 1,
    }


def reasoning(**more):
    return {"id": "rs_1", "type": "reasoning", "summary": [], "encrypted_content": "sealed", **more}


CALL = {"id": "fc_1", "type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
OUTPUT = {"id": "fco_1", "type": "function_call_output", "call_id": "call_1", "output": "1"}


def stored(*items, response="resp_1", origin=HERE):
    """Items of one response; those of users have no origin."""
    return [
        StoredItem(at, item, None if item.get("role") == "user" else origin, response)
        for at, item in enumerate(items)
    ]


def replay(history, new=(), *, origin=HERE, has_reasoning=True, keeps_ids=False):
    return replayed(history, new, origin=origin, has_reasoning=has_reasoning, keeps_ids=keeps_ids)


def kinds(items):
    return [item["type"] for item in items]


def test_items_lose_their_ids_and_what_only_answers_have():
    sent = replay(stored(user(), answer()), [user("more")])
    assert sent == [
        {
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_text", "text": "hi"}],
        },
        {
            "type": "message",
            "role": "assistant",
            "status": "completed",
            "content": [{"type": "output_text", "text": "yes", "annotations": []}],
        },
        {
            "type": "message",
            "role": "user",
            "status": "completed",
            "content": [{"type": "input_text", "text": "more"}],
        },
    ]


def test_an_upstream_that_stores_responses_gets_the_ids_of_its_items():
    sent = replay(stored(user(), reasoning(), answer()), [user()], keeps_ids=True)
    assert [item.get("id") for item in sent] == [None, "rs_1", "msg_a", None]


@pytest.mark.parametrize(
    ("history", "how"),
    [
        (stored(user(), reasoning(), answer(), origin=ELSEWHERE), {}),
        (stored(user(), reasoning(), answer()), {"has_reasoning": False}),
        (stored(user(), reasoning(), answer()), {"has_reasoning": False, "keeps_ids": True}),
        (stored(user(), reasoning(encrypted_content=None), answer()), {}),
    ],
    ids=["another model's", "not wanted", "not wanted, by id", "not sealed"],
)
def test_reasoning_that_cannot_be_read_is_left_out(history, how):
    sent = replay(history, [user()], **how)
    assert kinds(sent) == ["message"] * 3
    assert all("id" not in item for item in sent)


def test_reasoning_is_left_out_without_what_it_led_to():
    history = [*stored(user(), reasoning()), *stored(user(), answer(), response="resp_2")]
    assert kinds(replay(history, [user()])) == ["message"] * 4


def test_several_reasoning_items_before_one_call_stay():
    history = stored(user(), reasoning(), reasoning(id="rs_2"), CALL)
    assert kinds(replay(history, [OUTPUT])) == [
        "message",
        "reasoning",
        "reasoning",
        "function_call",
        "function_call_output",
    ]


def test_an_answer_whose_call_is_gone_is_left_out():
    assert kinds(replay(stored(user(), OUTPUT, answer()), [user()])) == ["message"] * 3


def test_calls_are_open_until_the_history_or_the_request_answers_them():
    history = stored(user(), CALL)
    assert open_calls(history, [user()]) == ["call_1"]
    assert open_calls(history, [OUTPUT]) == []
    assert open_calls(stored(user(), CALL, OUTPUT), []) == []
    assert repeated_answers(history, [OUTPUT]) == []
    assert repeated_answers(stored(user(), CALL, OUTPUT), [OUTPUT]) == ["call_1"]


def test_an_approval_keeps_the_id_that_its_answer_names():
    request = {"id": "mcpr_1", "type": "mcp_approval_request", "name": "f", "arguments": "{}"}
    reply = {"type": "mcp_approval_response", "approval_request_id": "mcpr_1", "approve": True}
    assert replay(stored(user(), request), [reply])[1]["id"] == "mcpr_1"


def test_a_compaction_stands_for_what_came_before_it():
    packed = {"id": "cm_1", "type": "compaction", "encrypted_content": "sealed"}
    history = stored(user("old"), answer("old"), packed, answer("new"))
    assert kinds(replay(history, [user()])) == ["compaction", "message", "message"]
    assert kinds(replay(history, [user()], origin=ELSEWHERE)) == ["message"] * 4


def test_the_older_half_of_the_turns_is_left_out_and_never_the_last():
    turns = [item for number in range(4) for item in (user(str(number)), answer(str(number)))]
    history = stored(*turns)
    for kept in ([4, 5, 6, 7], [6, 7]):
        history = without_oldest_turns(history) or []
        assert [item.position for item in history] == kept
    assert without_oldest_turns(history) is None
    assert without_oldest_turns(stored(user(), CALL, OUTPUT, answer())) is None


def test_turns_are_kept_that_fit_into_the_window():
    turns = [item for _ in range(4) for item in (user("a" * 100), answer("b" * 100))]
    history = stored(*turns)
    assert fitting(history, 10_000) == history
    assert [item.position for item in fitting(history, 250)] == [4, 5, 6, 7]
    assert [item.position for item in fitting(history, 1)] == [6, 7]
    assert fitting([], 10) == []
