"""`replaces`: a chat turn in the place of an earlier one and of what follows, or nothing is changed."""

import asyncio
import json

import httpx2
import pytest

from tests.support import TLS, Json, embedded_upstream, error_of, frames, is_idle, names, new_thread, until

EVERYTHING: Json = {
    "order": "asc",
    "limit": 100,
    "include[]": ["reasoning.encrypted_content", "code_interpreter_call.outputs"],
}
GUARD = """
from app.tools import Caller, Refusal, guard

@guard
def polite(text: str, caller: Caller) -> str:
    if "damn" in text:
        return Refusal("Not like that.")
    return text
"""

# Without the deltas.
UI_STREAM = ["start", "start-step", "text-start", "text-end", "finish-step", "finish", "[DONE]"]


async def items(url, thread_id):
    """All items of a thread as the upstream has them, oldest first."""
    path = f"{url}/conversations/{thread_id.replace('thread_', 'conv_')}/items"
    async with httpx2.AsyncClient(verify=TLS) as client:
        return (await client.get(path, params=EVERYTHING)).json()["data"]


def shape(found):
    """Role or type and text of items."""
    return [
        (item.get("role") or item["type"], "".join(part["text"] for part in item.get("content") or []))
        for item in found
    ]


async def ask(client, message, **body):
    answer = await client.post("chat", json={"message": message, **body})
    assert answer.status_code == 200, answer.text
    return answer.json()


@pytest.fixture
async def talk(live, upstream):
    """A thread with two plain turns: its id, and the answers."""
    first = await ask(live, "one")
    second = await ask(live, "two", thread_id=first["thread_id"])
    return first["thread_id"], [first, second]


async def used_tools(client):
    """A thread with a plain turn, one with reasoning and a call, and a plain one; the answers."""
    first = await ask(client, "one")
    thread_id = first["thread_id"]
    waiting = await ask(client, "think: with a tool", thread_id=thread_id)
    outputs = [{"tool_call_id": call["id"], "output": "sunny"} for call in waiting["tool_calls"]]
    body = {"thread_id": thread_id, "run_id": waiting["run_id"], "tool_outputs": outputs}
    second = (await client.post("chat", json=body)).json()
    return [first, second, await ask(client, "three", thread_id=thread_id)]


class TestAsking:
    async def test_the_answer_names_its_message(self, live, upstream, talk):
        thread_id, answers = talk
        found = await items(upstream, thread_id)
        assert [answer["message_id"] for answer in answers] == [found[1]["id"], found[3]["id"]]

    async def test_without_a_message_the_old_question_is_asked_again(self, live, upstream, talk):
        thread_id, (_, second) = talk
        before = await items(upstream, thread_id)
        again = await live.post("chat", json={"thread_id": thread_id, "replaces": second["message_id"]})
        assert again.json()["message"] == "You said: two"
        after = await items(upstream, thread_id)
        assert after[:2] == before[:2]
        assert shape(after) == shape(before)
        assert {item["id"] for item in after[2:]} & {item["id"] for item in before} == set()
        assert again.json()["message_id"] == after[3]["id"]

    async def test_with_a_message_that_one_is_asked_instead(self, live, upstream, talk):
        thread_id, (_, second) = talk
        edited = await ask(live, "other", thread_id=thread_id, replaces=second["message_id"])
        assert edited["message"] == "You said: other"
        assert shape(await items(upstream, thread_id)) == [
            ("user", "one"),
            ("assistant", "You said: one"),
            ("user", "other"),
            ("assistant", "You said: other"),
        ]

    @pytest.mark.parametrize("at", [0, 1])
    async def test_a_question_or_its_answer_may_be_named_and_all_after_it_goes(
        self, live, upstream, talk, at
    ):
        thread_id, _ = talk
        named = (await items(upstream, thread_id))[at]["id"]
        await ask(live, "anew", thread_id=thread_id, replaces=named)
        assert shape(await items(upstream, thread_id)) == [("user", "anew"), ("assistant", "You said: anew")]

    async def test_a_turn_goes_with_its_reasoning_and_calls(self, live, upstream):
        first, second, _ = await used_tools(live)
        thread_id = first["thread_id"]
        before = await items(upstream, thread_id)
        kinds = ["reasoning", "function_call", "function_call_output", "reasoning", "assistant"]
        assert [kind for kind, _ in shape(before)] == [
            "user",
            "assistant",
            "user",
            *kinds,
            "user",
            "assistant",
        ]
        await ask(live, "anew", thread_id=thread_id, replaces=second["message_id"])
        after = await items(upstream, thread_id)
        assert after[:2] == before[:2]
        assert shape(after[2:]) == [("user", "anew"), ("assistant", "You said: anew")]
        assert (await ask(live, "next", thread_id=thread_id))["message"] == "You said: next"

    async def test_only_the_question_next_to_the_answer_is_asked_again(self, live, upstream):
        thread_id = await new_thread(live, "kept", "old")
        answer = await ask(live, "last", thread_id=thread_id)
        body = {"thread_id": thread_id, "replaces": answer["message_id"]}
        assert (await live.post("chat", json=body)).json()["message"] == "You said: last"
        roles = [role for role, _ in shape(await items(upstream, thread_id))]
        assert roles == ["user", "user", "user", "assistant"]

    async def test_files_are_asked_again_with_their_question(self, live, upstream):
        form = {"message": "look"}
        sent = [
            ("files", ("a.txt", b"Berlin", "text/plain")),
            ("files", ("b.png", b"\x89PNG\r\n\x1a\n", "image/png")),
        ]
        first = (await live.post("chat", data=form, files=sent)).json()
        before = (await items(upstream, first["thread_id"]))[0]
        assert len(before["content"]) > 1
        body = {"thread_id": first["thread_id"], "replaces": first["message_id"]}
        assert (await live.post("chat", json=body)).status_code == 200
        after = await items(upstream, first["thread_id"])
        assert after[0]["content"] == before["content"]
        assert len(after) == 2

    async def test_an_edited_question_keeps_its_files(self, live, upstream):
        file = {"files": ("a.txt", b"Berlin", "text/plain")}
        first = (await live.post("chat", data={"message": "look"}, files=file)).json()
        [before, _] = await items(upstream, first["thread_id"])
        body = {"thread_id": first["thread_id"], "replaces": first["message_id"], "message": "look closer"}
        assert (await live.post("chat", json=body)).status_code == 200
        [after, _] = await items(upstream, first["thread_id"])
        files = [part for part in before["content"] if part["type"] != "input_text"]
        assert files
        assert after["content"] == [{"type": "input_text", "text": "look closer"}, *files]

    async def test_a_new_file_alone_is_a_new_question(self, live, upstream, talk):
        thread_id, (_, second) = talk
        form = {"thread_id": thread_id, "replaces": second["message_id"]}
        answer = await live.post("chat", data=form, files={"files": ("a.txt", b"Berlin", "text/plain")})
        assert answer.status_code == 200, answer.text
        question = (await items(upstream, thread_id))[2]
        assert question["role"] == "user"
        assert "two" not in json.dumps(question)

    async def test_more_than_a_page_of_items_goes(self, live, upstream, talk):
        thread_id, (first, _) = talk
        for number in range(60):
            messages = f"threads/{thread_id}/messages"
            await live.post(messages, json={"role": "user", "content": f"more {number}"})
        await ask(live, "anew", thread_id=thread_id, replaces=first["message_id"])
        assert shape(await items(upstream, thread_id)) == [("user", "anew"), ("assistant", "You said: anew")]


class TestProtocols:
    async def test_a_stream(self, live, upstream, talk):
        thread_id, (_, second) = talk
        body = {"thread_id": thread_id, "replaces": second["message_id"], "stream": True}
        events = frames((await live.post("chat", json=body)).text)
        assert names(events) == ["thread", "delta", "done"]
        done = events[-1][1]
        assert (done["message"], done["status"]) == ("You said: two", "completed")
        assert done["message_id"] == (await items(upstream, thread_id))[3]["id"]

    async def test_plain_text(self, live, talk):
        thread_id, (_, second) = talk
        body = {"thread_id": thread_id, "replaces": second["message_id"]}
        answer = await live.post("chat", json=body, headers={"accept": "text/plain"})
        assert answer.headers["content-type"].startswith("text/plain")
        assert answer.text.strip() == "You said: two"

    async def test_a_form(self, live, upstream, talk):
        thread_id, (_, second) = talk
        fields = {"thread_id": thread_id, "replaces": second["message_id"], "message": "by form"}
        answer = await live.post("chat", files={name: (None, value) for name, value in fields.items()})
        assert answer.json()["message"] == "You said: by form"
        assert len(await items(upstream, thread_id)) == 4

    async def test_ai_sdk_messages_give_the_new_question(self, live, upstream, talk):
        thread_id, (_, second) = talk
        history = [
            {"id": "a", "role": "user", "parts": [{"type": "text", "text": "one"}]},
            {"id": "b", "role": "assistant", "parts": [{"type": "text", "text": "You said: one"}]},
            {"id": "c", "role": "user", "parts": [{"type": "text", "text": "edited"}]},
        ]
        body = {"messages": history, "thread_id": thread_id, "replaces": second["message_id"]}
        chunks = [data for _, data in frames((await live.post("chat", json=body)).text)]
        assert [
            c if isinstance(c, str) else c["type"] for c in chunks if c == "[DONE]" or "delta" not in c
        ] == UI_STREAM
        assert shape(await items(upstream, thread_id))[2:] == [
            ("user", "edited"),
            ("assistant", "You said: edited"),
        ]

    @pytest.mark.parametrize("named", ["its run", "itself", "none"])
    async def test_the_ai_sdk_regenerates(self, live, upstream, talk, named):
        thread_id, (_, second) = talk
        before = await items(upstream, thread_id)
        known = {"its run": "msg_" + second["run_id"].removeprefix("run_"), "itself": second["message_id"]}
        history = [{"id": "c", "role": "user", "parts": [{"type": "text", "text": "two"}]}]
        body = {"id": "chat-1", "trigger": "regenerate-message", "messages": history, "thread_id": thread_id}
        answer = await live.post("chat", json=body | {"messageId": known.get(named)})
        kinds = [data if isinstance(data, str) else data["type"] for _, data in frames(answer.text)]
        assert [kind for kind in kinds if kind != "text-delta"] == UI_STREAM
        assert "x-ignored-params" not in answer.headers
        after = await items(upstream, thread_id)
        assert shape(after) == shape(before)
        assert after[2:] != before[2:]

    async def test_the_ai_sdk_regenerates_a_run_with_tools(self, live, upstream):
        _, second, _ = await used_tools(live)
        history = [{"id": "c", "role": "user", "parts": [{"type": "text", "text": "anew"}]}]
        body = {"trigger": "regenerate-message", "messages": history, "thread_id": second["thread_id"]}
        body["messageId"] = "msg_" + second["run_id"].removeprefix("run_")
        assert (await live.post("chat", json=body)).status_code == 200
        found = shape(await items(upstream, second["thread_id"]))
        assert found[2:] == [("user", "anew"), ("assistant", "You said: anew")]

    @pytest.mark.parametrize("body", [{"messageId": "made-up"}, {"messageId": "msg_" + "0" * 48}])
    async def test_an_answer_that_is_not_known_is_followed_by_another(self, live, upstream, talk, body):
        thread_id, _ = talk
        history = [{"id": "c", "role": "user", "parts": [{"type": "text", "text": "two"}]}]
        whole = {"trigger": "regenerate-message", "messages": history, "thread_id": thread_id, **body}
        assert (await live.post("chat", json=whole)).status_code == 200
        assert len(await items(upstream, thread_id)) == 6

    async def test_a_repeated_request_replaces_once(self, live, upstream, talk):
        thread_id, (_, second) = talk
        body = {"thread_id": thread_id, "replaces": second["message_id"], "message": "anew"}
        headers = {"idempotency-key": "k1"}
        first, again = [await live.post("chat", json=body, headers=headers) for _ in range(2)]
        assert (first.status_code, again.json()) == (200, first.json())
        assert shape(await items(upstream, thread_id))[2:] == [
            ("user", "anew"),
            ("assistant", "You said: anew"),
        ]

    async def test_signed_ids(self, start, upstream):
        async with start(url=upstream, is_served=True, secret_keys=["s" * 32]) as service:
            client = service.client
            answer = await ask(client, "one")
            body = {"thread_id": answer["thread_id"], "replaces": answer["message_id"]}
            again = (await client.post("chat", json=body)).json()
            history = [{"id": "c", "role": "user", "parts": [{"type": "text", "text": "anew"}]}]
            body = {"trigger": "regenerate-message", "messages": history, "thread_id": answer["thread_id"]}
            body["messageId"] = "msg_" + again["run_id"].removeprefix("run_")
            assert (await client.post("chat", json=body)).status_code == 200
            page = (await client.get(f"threads/{answer['thread_id']}/messages")).json()["data"]
            texts = [message["content"][0]["text"]["value"] for message in page]
            assert texts == ["You said: anew", "anew"]

    async def test_detached(self, live, upstream, talk):
        thread_id, (_, second) = talk
        body = {"thread_id": thread_id, "replaces": second["message_id"], "on_disconnect": "detach"}
        assert (await live.post("chat", json=body)).json()["message"] == "You said: two"
        assert len(await items(upstream, thread_id)) == 4


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({"replaces": "msg_1"}, "replaces"),
            ({"replaces": "msg_1", "message": "hi"}, "replaces"),
            ({"replaces": "msg_1", "thread_id": "", "message": "hi"}, "replaces"),
            (
                {
                    "replaces": "msg_1",
                    "thread_id": "thread_1",
                    "run_id": "run_1",
                    "tool_outputs": [{"tool_call_id": "c", "output": ""}],
                },
                "replaces",
            ),
            ({"replaces": 7, "thread_id": "thread_1"}, "replaces"),
        ],
    )
    async def test_a_bad_body_names_the_field(self, client, body, param):
        assert error_of(await client.post("chat", json=body), 400)["param"] == param

    async def test_an_empty_string_replaces_nothing(self, client):
        assert (await ask(client, "hi", replaces=""))["message"] == "You said: hi"

    @pytest.mark.parametrize("named", ["msg_" + "0" * 48, "../x", "rs_", "x" * 300])
    async def test_a_message_that_is_not_in_the_thread(self, live, upstream, talk, named):
        thread_id, _ = talk
        before = await items(upstream, thread_id)
        error = error_of(await live.post("chat", json={"thread_id": thread_id, "replaces": named}), 404)
        assert (error["param"], error["code"]) == ("replaces", "message_not_found")
        assert await items(upstream, thread_id) == before

    async def test_a_message_of_another_thread(self, live, upstream, talk):
        thread_id, _ = talk
        other = await ask(live, "elsewhere")
        before = await items(upstream, thread_id), await items(upstream, other["thread_id"])
        body = {"thread_id": thread_id, "replaces": other["message_id"]}
        assert error_of(await live.post("chat", json=body), 404)["param"] == "replaces"
        assert (await items(upstream, thread_id), await items(upstream, other["thread_id"])) == before

    async def test_an_item_that_is_no_message(self, live, upstream):
        answers = await used_tools(live)
        thread_id = answers[0]["thread_id"]
        call = next(item for item in await items(upstream, thread_id) if item["type"] == "function_call")
        body = {"thread_id": thread_id, "replaces": call["id"]}
        assert error_of(await live.post("chat", json=body), 404)["param"] == "replaces"

    async def test_an_unknown_thread(self, live, talk):
        body = {"thread_id": "thread_" + "0" * 48, "replaces": talk[1][0]["message_id"]}
        assert error_of(await live.post("chat", json=body), 404)["param"] == "thread_id"

    async def test_an_answer_without_a_question(self, live, upstream):
        messages = [{"role": "assistant", "content": "Welcome!"}]
        thread = (await live.post("threads", json={"messages": messages})).json()
        before = await items(upstream, thread["id"])
        body = {"thread_id": thread["id"], "replaces": before[0]["id"], "message": "hi"}
        error = error_of(await live.post("chat", json=body), 400)
        assert (error["param"], error["code"]) == ("replaces", "no_question")
        assert await items(upstream, thread["id"]) == before

    async def test_a_history_that_ends_with_results_of_tools(self, live, upstream, talk):
        thread_id, (_, second) = talk
        before = await items(upstream, thread_id)
        history = [{"role": "tool", "toolCallId": "call_1", "content": "sunny"}]
        body = {"messages": history, "thread_id": thread_id, "replaces": second["message_id"]}
        assert error_of(await live.post("chat", json=body), 400)["param"] == "messages"
        assert await items(upstream, thread_id) == before

    async def test_too_much_of_a_thread(self, live, upstream, talk):
        thread_id, (first, _) = talk
        path = f"{upstream}/conversations/{thread_id.replace('thread_', 'conv_')}/items"
        more = [{"type": "message", "role": "user", "content": "more"}] * 20
        async with httpx2.AsyncClient(verify=TLS) as direct:
            for _ in range(25):
                await direct.post(path, json={"items": more})
        body = {"thread_id": thread_id, "replaces": first["message_id"]}
        error = error_of(await live.post("chat", json=body), 400)
        assert (error["param"], error["code"]) == ("replaces", "too_much_replaced")

    async def test_a_guard_refuses_before_anything_is_deleted(self, start, upstream, tmp_path):
        module = tmp_path / "guards.py"
        module.write_text(GUARD)
        async with start(url=upstream, is_served=True, tools_module=str(module)) as service:
            answer = await ask(service.client, "one")
            before = await items(upstream, answer["thread_id"])
            deletions = await deleted(upstream)
            body = {"thread_id": answer["thread_id"], "replaces": answer["message_id"], "message": "damn"}
            assert error_of(await service.client.post("chat", json=body), 400)["code"] == "content_blocked"
            assert await items(upstream, answer["thread_id"]) == before
            assert await deleted(upstream) == deletions

    async def test_a_budget_refuses_before_anything_is_deleted(self, start, upstream):
        async with start(url=upstream, is_served=True) as service:
            answer = await ask(service.client, "one")
        before = await items(upstream, answer["thread_id"])
        deletions = await deleted(upstream)
        async with start(url=upstream, is_served=True, budget_total_tokens_day=1) as service:
            body = {"thread_id": answer["thread_id"], "replaces": answer["message_id"]}
            refused = await service.client.post("chat", json=body)
            assert (refused.status_code, refused.json()["error"]["code"]) == (429, "budget_exceeded")
        assert await items(upstream, answer["thread_id"]) == before
        assert await deleted(upstream) == deletions


async def deleted(url):
    """How many items were deleted upstream."""
    async with httpx2.AsyncClient(verify=TLS) as client:
        counts = (await client.get(url.removesuffix("/v1") + "/_stats")).json()["requests"]
    return sum(count for name, count in counts.items() if name.startswith("DELETE"))


MODES = [
    pytest.param({}, id="json"),
    pytest.param({"stream": True}, id="stream"),
    pytest.param({"on_disconnect": "detach"}, id="detached json"),
    pytest.param({"on_disconnect": "detach", "stream": True}, id="detached stream"),
]


class TestFailing:
    @pytest.mark.parametrize("mode", MODES)
    @pytest.mark.parametrize("prompt", ["fail:server_error", "fail-late:server_error"])
    async def test_a_run_that_fails_leaves_the_thread_as_it_was(self, live, upstream, mode, prompt):
        answers = await used_tools(live)
        thread_id, named = answers[0]["thread_id"], answers[1]["message_id"]
        before = await items(upstream, thread_id)
        body = {"thread_id": thread_id, "replaces": named, "message": prompt, **mode}
        failed = await live.post("chat", json=body)
        if "stream" in mode:
            events = frames(failed.text)
            assert names(events) == ["thread", *(["delta"] if "late" in prompt else []), "error"]
        else:
            assert failed.status_code == 502
        assert await items(upstream, thread_id) == before
        assert (await ask(live, "next", thread_id=thread_id))["message"] == "You said: next"

    @pytest.mark.parametrize("is_stream", [False, True])
    @pytest.mark.parametrize("fault", ["500", "429", "truncate", "reset", "garbage"])
    async def test_an_upstream_that_fails(self, start, tmp_path, fault, is_stream):
        stored = {"db": str(tmp_path / "upstream.db")}
        async with embedded_upstream(**stored) as url, start(url=url, is_served=True) as service:
            answers = await used_tools(service.client)
            thread_id = answers[0]["thread_id"]
            before = await items(url, thread_id)
        faulty = stored | {"fault": fault, "fault_after": 4, "fault_rate": 1}
        async with embedded_upstream(**faulty) as url, start(url=url, is_served=True) as service:
            body = {"thread_id": thread_id, "replaces": answers[1]["message_id"], "stream": is_stream}
            failed = await service.client.post("chat", json=body)
            if failed.status_code == 200:
                assert names(frames(failed.text))[-1] == "error"
            assert await items(url, thread_id) == before

    async def test_a_run_that_expires(self, start, upstream):
        async with start(url=upstream, is_served=True, run_expires_seconds=0.5) as service:
            answer = await ask(service.client, "one")
            before = await items(upstream, answer["thread_id"])
            body = {
                "thread_id": answer["thread_id"],
                "replaces": answer["message_id"],
                "message": "slow: story",
            }
            assert error_of(await service.client.post("chat", json=body), 502)["code"] == "expired"
            assert await items(upstream, answer["thread_id"]) == before


class TestLeaving:
    async def test_before_anything_was_said_the_thread_stays_as_it_was(self, live, upstream, talk):
        thread_id, (_, second) = talk
        before = await items(upstream, thread_id)
        body = {"thread_id": thread_id, "replaces": second["message_id"], "message": "sleep:60000 late"}
        asking = asyncio.create_task(live.post("chat", json=body))

        async def is_asked():
            return not await is_idle(upstream)

        await until(is_asked)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)

        async def is_back():
            return await items(upstream, thread_id) == before

        await until(is_back)
        assert (await ask(live, "next", thread_id=thread_id))["message"] == "You said: next"
        assert (await items(upstream, thread_id))[:4] == before

    async def test_what_was_said_by_then_is_the_new_answer(self, live, upstream, talk):
        thread_id, (_, second) = talk
        body = {
            "thread_id": thread_id,
            "replaces": second["message_id"],
            "message": "slow: story",
            "stream": True,
        }
        async with live.stream("POST", "chat", json=body) as response:
            async for piece in response.aiter_text():
                if "word1" in piece:
                    break
        await ask(live, "next", thread_id=thread_id)
        found = shape(await items(upstream, thread_id))
        assert found[:3] == [("user", "one"), ("assistant", "You said: one"), ("user", "slow: story")]
        assert found[3][1].startswith("word0 word1")
        assert found[4:] == [("user", "next"), ("assistant", "You said: next")]

    @pytest.mark.parametrize("prompt", ["sleep:60000 late", "slow: story"])
    async def test_a_run_that_is_cancelled(self, live, upstream, talk, prompt):
        thread_id, (_, second) = talk
        before = await items(upstream, thread_id)
        body = {"thread_id": thread_id, "replaces": second["message_id"], "message": prompt, "stream": True}
        text = ""
        async with live.stream("POST", "chat", json=body) as response:
            async for piece in response.aiter_text():
                is_stopped = "cancelled" in text
                text += piece
                if ("word1" in text or prompt.startswith("sleep")) and not is_stopped and "done" not in text:
                    run_id = frames(text[: text.index("\n\n") + 2])[0][1]["run_id"]
                    await live.post(f"threads/{thread_id}/runs/{run_id}/cancel")
        done = frames(text)[-1]
        assert (done[0], done[1]["status"], done[1]["message_id"]) == ("done", "cancelled", None)
        found = await items(upstream, thread_id)
        if prompt.startswith("sleep"):
            assert done[1]["message"] == ""
            assert found == before
        else:
            assert shape(found)[2] == ("user", prompt)
            assert shape(found)[3][1].startswith("word0 word1")


class TestOneWriter:
    async def test_a_busy_thread_is_refused_and_left_alone(self, start, upstream):
        async with start(url=upstream, is_served=True, lock_wait_seconds=0.2) as service:
            client = service.client
            answer = await ask(client, "one")
            before = await items(upstream, answer["thread_id"])
            busy = {"thread_id": answer["thread_id"], "message": "slow:100", "stream": True}
            async with client.stream("POST", "chat", json=busy) as response:
                # Held: the stream would be closed with its iterator.
                pieces = response.aiter_text()
                await anext(pieces)
                body = {"thread_id": answer["thread_id"], "replaces": answer["message_id"]}
                error = error_of(refused := await client.post("chat", json=body), 409)
                assert (error["code"], error["param"]) == ("thread_busy", "thread_id")
                assert refused.headers["retry-after"]
                assert await items(upstream, answer["thread_id"]) == before

    async def test_of_two_at_once_one_is_refused_and_nothing_is_doubled(self, start, upstream):
        async with start(url=upstream, is_served=True, lock_wait_seconds=0.2) as service:
            client = service.client
            answer = await ask(client, "one")
            body = {"thread_id": answer["thread_id"], "replaces": answer["message_id"], "message": "slow:50"}
            found = await asyncio.gather(*(client.post("chat", json=body) for _ in range(2)))
            assert sorted(each.status_code for each in found) == [200, 409]
            roles = [role for role, _ in shape(await items(upstream, answer["thread_id"]))]
            assert roles == ["user", "assistant"]

    async def test_an_ordinary_turn_waits_or_is_refused(self, start, upstream):
        async with start(url=upstream, is_served=True) as service:
            client = service.client
            answer = await ask(client, "one")
            thread_id = answer["thread_id"]
            body = {"thread_id": thread_id, "replaces": answer["message_id"], "message": "slow:5"}
            plain = {"thread_id": thread_id, "message": "next"}
            found = await asyncio.gather(*(client.post("chat", json=each) for each in (body, plain)))
            assert sorted({each.status_code for each in found}) in ([200], [200, 409])
            texts = [text for role, text in shape(await items(upstream, thread_id)) if role == "user"]
            assert texts.count("slow:5") == 1 or found[0].status_code == 409
