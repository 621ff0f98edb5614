"""Bad input of every kind gets the right 4xx in the envelope, with the field's name, without its value."""

import json

import pytest

from tests.support import ASSISTANT, error_of, finished_run, new_run, new_thread

USER = {"role": "user", "content": "hi"}
RUN = {"assistant_id": ASSISTANT}
CANARY = "canary-value"
BODIES = [
    ("chat", {}, "body"),
    ("chat", {"message": ""}, "message"),
    ("chat", {"message": " \n\u3000"}, "message"),
    ("chat", {"messages": [{"role": "user", "content": "  "}]}, "messages[0]"),
    ("chat", {"messages": [{"role": "user", "text": "\t"}]}, "messages[0]"),
    ("chat", {"messages": [{"role": "user", "parts": [{"type": "text", "text": " "}]}]}, "messages[0]"),
    ("ag-ui", {"threadId": "t", "runId": "r", "messages": [{"role": "user", "content": " "}]}, "messages[0]"),
    ("threads/{t}/messages", {"role": "user", "content": " \n"}, "content"),
    ("threads/{t}/messages", {"role": "user", "content": [{"type": "text", "text": " "}] * 2}, "content"),
    ("threads", {"messages": [{"role": "user", "content": "\u00a0"}]}, "messages[0].content"),
    (
        "threads/{t}/runs",
        {**RUN, "additional_messages": [{"role": "user", "content": " "}]},
        "additional_messages[0].content",
    ),
    ("chat", {"message": 7}, "message"),
    ("chat", {"message": None}, "body"),
    ("chat", {"message": "hi", "messages": [USER]}, "body"),
    ("chat", {"message": "hi", "thread_id": 5}, "thread_id"),
    ("chat", {"message": "hi", "stream": CANARY}, "stream"),
    ("chat", {"message": "hi", "on_disconnect": CANARY}, "on_disconnect"),
    ("chat", {"tool_outputs": [{"tool_call_id": "call_1"}]}, "body"),
    ("chat", {"messages": []}, "messages"),
    ("chat", {"messages": [{"role": CANARY, "content": "hi"}]}, "messages[0].role"),
    ("chat", {"messages": [{"role": "user", "content": 3}]}, "messages[0].content"),
    ("chat", {"messages": [{"role": "user", "content": [{"type": CANARY}]}]}, "messages[0].content[0].type"),
    ("chat", {"messages": [{"role": "assistant", "content": "hi"}]}, "messages"),
    ("ag-ui", {"runId": "r", "messages": [USER]}, "threadId"),
    ("ag-ui", {"threadId": "t", "runId": "r", "messages": []}, "messages"),
    ("threads", {"messages": CANARY}, "messages"),
    ("threads", {"messages": [{"role": "system", "content": "hi"}]}, "messages[0].role"),
    ("threads", {"messages": [{"role": "user"}]}, "messages[0].content"),
    ("threads", {"messages": [{"role": "user", "content": ""}]}, "messages[0].content"),
    ("threads", {"messages": [{"role": "user", "content": []}]}, "messages[0].content"),
    (
        "threads",
        {"messages": [{"role": "user", "content": [{"type": CANARY}]}]},
        "messages[0].content[0].type",
    ),
    ("threads", {"messages": [{"role": "user", "content": [{}]}]}, "messages[0].content[0].type"),
    ("threads", {"metadata": {"a": 1}}, "metadata.a"),
    ("threads", {"metadata": {"k": "v" * 513}}, "metadata"),
    ("threads", {"metadata": {"k" * 65: "v"}}, "metadata"),
    ("threads", {"metadata": {f"k{n}": "v" for n in range(14)}}, "metadata"),
    ("threads", {"metadata": {"soloist_runs": "forged"}}, "metadata"),
    ("threads/runs", {"assistant_id": 5}, "assistant_id"),
    ("threads/runs", {**RUN, "thread": {"messages": [{"role": "user"}]}}, "thread.messages[0].content"),
    ("threads/{t}/runs", {"assistant_id": {}}, "assistant_id"),
    ("threads/{t}/runs", {**RUN, "temperature": 3}, "temperature"),
    ("threads/{t}/runs", {**RUN, "temperature": CANARY}, "temperature"),
    ("threads/{t}/runs", {**RUN, "top_p": -1}, "top_p"),
    ("threads/{t}/runs", {**RUN, "max_completion_tokens": 1}, "max_completion_tokens"),
    ("threads/{t}/runs", {**RUN, "reasoning_effort": CANARY}, "reasoning_effort"),
    ("threads/{t}/runs", {**RUN, "tools": [{"type": CANARY}]}, "tools[0].type"),
    ("threads/{t}/runs", {**RUN, "tools": [{"type": "function"}]}, "tools[0].function"),
    ("threads/{t}/runs", {**RUN, "model": ""}, "model"),
    ("threads/{t}/runs", {**RUN, "additional_messages": [USER] * 21}, "additional_messages"),
    ("threads/{t}/runs/{r}/submit_tool_outputs", {"tool_outputs": []}, "tool_outputs"),
    (
        "threads/{t}/runs/{r}/submit_tool_outputs",
        {"tool_outputs": [{"output": "x"}]},
        "tool_outputs[0].tool_call_id",
    ),
    ("threads/{t}/messages", {"role": "user"}, "content"),
    ("threads/{t}/messages", {"role": CANARY, "content": "hi"}, "role"),
]


class TestBodies:
    async def test_each_names_its_field_and_not_its_value(self, client):
        run = await finished_run(client, "hi")
        for path, body, param in BODIES:
            url = path.format(t=run["thread_id"], r=run["id"])
            error = error_of(await client.post(url, json=body), 400)
            assert error["param"] == param, (path, body, error)
            assert error["type"] == "invalid_request_error"
            assert CANARY not in error["message"]

    @pytest.mark.parametrize("content", [b"{", b"", b'{"message": "hi",}', b"\xff\xfe", b"message=hi"])
    async def test_what_is_no_json(self, client, content):
        headers = {"content-type": "application/json"}
        error = error_of(await client.post("chat", content=content, headers=headers), 400)
        assert error["param"] == "body"

    @pytest.mark.parametrize("content", [b"[]", b'"hi"', b"7", b"null", b"true"])
    async def test_json_that_is_no_object(self, client, content):
        headers = {"content-type": "application/json"}
        error = error_of(await client.post("chat", content=content, headers=headers), 400)
        assert error["param"] == "body"

    async def test_json_that_is_too_deep(self, client):
        headers = {"content-type": "application/json"}
        deep = b'{"message": "hi", "x": ' + b"[" * 5_000 + b"]" * 5_000 + b"}"
        error_of(await client.post("chat", content=deep, headers=headers), 400)

    async def test_half_a_surrogate_pair(self, client):
        headers = {"content-type": "application/json"}
        content = b'{"message": "\\ud83d"}'
        error = error_of(await client.post("chat", content=content, headers=headers), 400)
        assert error["param"] in {"message", "body"}

    @pytest.mark.parametrize("with_length", [True, False])
    async def test_a_body_over_the_limit(self, start, upstream, with_length):
        async def pieces():
            for _ in range(30):
                yield b"x" * 100

        async with start(url=upstream, max_body_bytes=1_000) as service:
            content = b'{"message": "' + b"x" * 2_000 + b'"}' if with_length else pieces()
            headers = {"content-type": "application/json"}
            response = await service.client.post("chat", content=content, headers=headers)
        assert error_of(response, 413)["param"] == "body"

    @pytest.mark.parametrize("path", ["threads/thread_x/runs/run_x/cancel", "threads/thread_x"])
    async def test_a_body_over_the_limit_where_none_belongs(self, start, upstream, path):
        async with start(url=upstream, max_body_bytes=2_000) as service:
            method = "POST" if path.endswith("cancel") else "DELETE"
            response = await service.client.request(method, path, json={"note": "x" * 3_000})
        assert error_of(response, 413)["param"] == "body"

    async def test_two_content_types_are_read_by_the_first(self, client):
        headers = [("content-type", "text/plain"), ("content-type", "application/json")]
        headers.append(("origin", "http://localhost:5173"))
        response = await client.post("chat", content=b'{"message": "hi"}', headers=headers)
        assert error_of(response, 400)["param"] == "content-type"

    async def test_a_text_over_the_limit(self, start, upstream):
        async with start(url=upstream, max_message_chars=10) as service:
            client = service.client
            thread_id = await new_thread(client, "short")
            long = {"role": "user", "content": "x" * 11}
            parts = {"role": "user", "content": [{"type": "text", "text": "x" * 6}] * 2}
            ui = {"role": "user", "parts": [{"type": "text", "text": "x" * 11}]}
            for path, body, param in (
                ("chat", {"message": "x" * 11}, "message"),
                ("chat", {"messages": [ui]}, "messages"),
                (f"threads/{thread_id}/messages", long, "content"),
                (f"threads/{thread_id}/messages", parts, "content"),
                ("threads", {"messages": [USER, long]}, "messages[1].content"),
                (
                    f"threads/{thread_id}/runs",
                    {**RUN, "additional_messages": [long]},
                    "additional_messages[0].content",
                ),
                ("threads/runs", {**RUN, "thread": {"messages": [long]}}, "thread.messages[0].content"),
            ):
                error = error_of(await client.post(path, json=body), 400)
                assert (error["param"], error["code"]) == (param, "string_above_max_length")

    @pytest.mark.parametrize("is_escaped", [False, True])
    async def test_the_limit_counts_characters_however_they_are_written(self, start, upstream, is_escaped):
        async with start(url=upstream, max_message_chars=250_000) as service:
            for length, status in ((250_000, 200), (250_001, 400)):
                body = json.dumps({"message": "😀" * length}, ensure_ascii=is_escaped)
                headers = {"content-type": "application/json"}
                response = await service.client.post("chat", content=body, headers=headers)
                assert response.status_code == status
            assert error_of(response, 400)["code"] == "string_above_max_length"
            form = {"message": (None, "😀" * 250_000), "stream": (None, "")}
            assert (await service.client.post("chat", files=form)).status_code == 200

    @pytest.mark.parametrize("thread_id", ["", None])
    async def test_an_empty_thread_id_is_none(self, client, thread_id):
        answer = await client.post("chat", json={"message": "hi", "thread_id": thread_id})
        assert answer.json()["thread_id"].startswith("thread_")
        history = {"messages": [USER], "thread_id": thread_id, "stream": False}
        assert (await client.post("chat", json=history)).status_code == 200
        ag_ui = {
            "threadId": "t",
            "runId": "r",
            "messages": [USER],
            "forwardedProps": {"thread_id": thread_id},
        }
        assert (await client.post("ag-ui", json=ag_ui)).status_code == 200

    async def test_blanks_beside_something_else_stay(self, client):
        picture = {"type": "image_url", "image_url": {"url": "https://x.example/a.png"}}
        for content in (
            [{"type": "text", "text": " "}, picture],
            [{"type": "text", "text": t} for t in " a"],
        ):
            body = {"messages": [{"role": "user", "content": content}]}
            assert (await client.post("threads", json=body)).status_code == 200


class TestQueries:
    @pytest.mark.parametrize(
        ("query", "param"),
        [
            ({"limit": "0"}, "limit"),
            ({"limit": "101"}, "limit"),
            ({"limit": "many"}, "limit"),
            ({"order": "up"}, "order"),
        ],
    )
    async def test_page_parameters(self, client, query, param):
        run = await finished_run(client, "hi")
        thread = f"threads/{run['thread_id']}"
        for path in (
            f"{thread}/messages",
            f"{thread}/runs",
            f"{thread}/runs/{run['id']}/steps",
            "assistants",
        ):
            assert error_of(await client.get(path, params=query), 400)["param"] == param

    @pytest.mark.parametrize("name", ["after", "before"])
    async def test_a_cursor_that_leads_nowhere(self, client, name):
        run = await finished_run(client, "hi")
        thread = f"threads/{run['thread_id']}"
        for path in (f"{thread}/messages", f"{thread}/runs", f"{thread}/runs/{run['id']}/steps"):
            for cursor in ("msg_0", "run_0", "../x", ""):
                error = error_of(await client.get(path, params={name: cursor}), 400)
                assert (error["param"], error["code"]) == (name, "invalid_cursor"), path


class TestIds:
    @pytest.mark.parametrize(
        "thread_id",
        ["thread_0000", "conv_0000", "0", "thread_", "thread_%2e%2e", "thread_a b"],
    )
    async def test_a_thread_that_is_none(self, client, thread_id):
        for method, path, body in (
            ("GET", "", None),
            ("POST", "", {"metadata": {}}),
            ("DELETE", "", None),
            ("GET", "/messages", None),
            ("POST", "/messages", USER),
            ("GET", "/messages/msg_1", None),
            ("DELETE", "/messages/msg_1", None),
            ("GET", "/runs", None),
            ("POST", "/runs", RUN),
            ("GET", "/runs/run_1", None),
            ("POST", "/runs/run_1/cancel", None),
            ("GET", "/runs/run_1/steps", None),
            ("GET", "/runs/run_1/events", None),
            ("POST", "/runs/run_1/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": "c"}]}),
        ):
            response = await client.request(method, f"threads/{thread_id}{path}", json=body)
            assert error_of(response, 404)["code"].endswith("_not_found"), (method, path)
        chat = await client.post("chat", json={"message": "hi", "thread_id": thread_id})
        assert error_of(chat, 404)["param"] == "thread_id"

    async def test_a_run_of_another_thread_is_unknown(self, client):
        run, other = await finished_run(client, "hi"), await new_thread(client, "other")
        path = f"threads/{other}/runs/{run['id']}"
        for method, rest, body in (
            ("GET", "", None),
            ("POST", "", {"metadata": {}}),
            ("POST", "/cancel", None),
            ("GET", "/steps", None),
            ("GET", "/events", None),
            ("POST", "/submit_tool_outputs", {"tool_outputs": [{"tool_call_id": "c"}]}),
        ):
            error = error_of(await client.request(method, path + rest, json=body), 404)
            assert (error["code"], error["param"]) == ("run_not_found", "run_id")

    async def test_a_message_of_another_thread_is_unknown(self, client):
        thread_id, other = await new_thread(client, "hi"), await new_thread(client, "other")
        message_id = (await client.get(f"threads/{thread_id}/messages")).json()["data"][0]["id"]
        for method in ("GET", "DELETE"):
            response = await client.request(method, f"threads/{other}/messages/{message_id}")
            assert error_of(response, 404)["param"] == "message_id"
        assert (await client.get(f"threads/{thread_id}/messages/{message_id}")).status_code == 200

    async def test_a_step_of_another_run_is_unknown(self, client):
        run, other = await finished_run(client, "hi"), await finished_run(client, "other")
        steps = (await client.get(f"threads/{other['thread_id']}/runs/{other['id']}/steps")).json()
        path = f"threads/{run['thread_id']}/runs/{run['id']}/steps"
        for step_id in (steps["data"][0]["id"], "step_0.0", "step_", "x"):
            assert error_of(await client.get(f"{path}/{step_id}"), 404)["param"] == "step_id"

    async def test_an_unknown_assistant(self, client):
        thread_id = await new_thread(client, "hi")
        for path in ("threads/runs", f"threads/{thread_id}/runs"):
            error = error_of(await client.post(path, json={"assistant_id": "asst_other"}), 404)
            assert (error["code"], error["param"]) == ("assistant_not_found", "assistant_id")


class TestRoutes:
    async def test_an_unknown_route(self, client):
        for method in ("GET", "POST", "DELETE", "PATCH"):
            error = error_of(await client.request(method, "nowhere/at/all"), 404)
            assert (error["code"], error["param"]) == ("unknown_url", None)

    async def test_a_method_that_a_route_does_not_take(self, client):
        for method, path in (
            ("GET", "chat"),
            ("PUT", "threads"),
            ("PATCH", "threads/thread_1"),
            ("PUT", "health"),
        ):
            response = await client.request(method, path)
            error = error_of(response, 405)
            assert error["code"] == "method_not_allowed"
            assert response.headers["allow"]

    async def test_a_state_that_does_not_fit(self, client):
        run = await finished_run(client, "hi")
        path = f"threads/{run['thread_id']}/runs/{run['id']}"
        error = error_of(await client.post(f"{path}/cancel"), 400)
        assert (error["code"], error["param"]) == ("run_not_cancellable", "run_id")
        error = error_of(await client.post(path, json={"metadata": {"a": "b"}}), 400)
        assert (error["code"], error["param"]) == ("run_metadata_not_stored", "metadata")
        message_id = (await client.get(f"threads/{run['thread_id']}/messages")).json()["first_id"]
        path = f"threads/{run['thread_id']}/messages/{message_id}"
        error = error_of(await client.post(path, json={"metadata": {"a": "b"}}), 400)
        assert (error["code"], error["param"]) == ("message_metadata_not_stored", "metadata")

    async def test_a_busy_thread(self, start, upstream):
        async with start(url=upstream, lock_wait_seconds=0) as service:
            client = service.client
            thread_id = await new_thread(client, "slow: story")
            run = await new_run(client, thread_id)
            for path, body in ((f"threads/{thread_id}/messages", USER), (f"threads/{thread_id}/runs", RUN)):
                error = error_of(await client.post(path, json=body), 400)
                assert error["code"] == "conversation_locked"
            response = await client.post("chat", json={"message": "x", "thread_id": thread_id})
            assert error_of(response, 409)["param"] == "thread_id"
            assert int(response.headers["retry-after"]) > 0
            await client.post(f"threads/{thread_id}/runs/{run['id']}/cancel")


class TestRequestIds:
    async def test_a_good_request_id_comes_back(self, client):
        response = await client.get("health", headers={"x-request-id": "abc-123_X.y:z"})
        assert response.headers["x-request-id"] == "abc-123_X.y:z"

    @pytest.mark.parametrize("given", [None, "", "a b", "x" * 129, 'a"b', "a,b"])
    async def test_a_missing_or_bad_one_is_made_anew(self, client, given):
        headers = {} if given is None else {"x-request-id": given}
        found = {(await client.get("health", headers=headers)).headers["x-request-id"] for _ in range(2)}
        assert len(found) == 2
        assert all(value.startswith("req_") for value in found)
