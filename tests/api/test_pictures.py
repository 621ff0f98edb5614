"""Pictures that the assistant made: parts of the next answer, outputs of steps, and files to download."""

import base64

import pytest

from tests.fake_thread import FakeThread, message
from tests.fake_upstream import fake_upstream
from tests.security.support import GUARDED, KEY_B, bearer, mint
from tests.support import ASSISTANT, error_of, frames, names

PNG = b"\x89PNG\r\n\x1a\n" + b"png" * 20
JPEG = b"\xff\xd8\xff\xe0 jpeg"
WEBP = b"RIFF\x00\x00\x00\x00WEBPVP8 "
MESSAGES = "threads/thread_1/messages"


def drawn(item_id="ci_1", *outputs, **changes):
    item = {"type": "code_interpreter_call", "id": item_id, "code": "plot()", "status": "completed"}
    return {**item, "container_id": "cntr_1", "outputs": list(outputs), **changes}


def picture(data=PNG):
    return {"type": "image", "url": f"data:image/png;base64,{base64.b64encode(data).decode()}"}


def logs(text):
    return {"type": "logs", "logs": text}


def generated(item_id="ig_1", data=PNG, **changes):
    result = base64.b64encode(data).decode()
    return {
        "type": "image_generation_call",
        "id": item_id,
        "status": "completed",
        "result": result,
        **changes,
    }


def asked(item_id):
    return message("Draw.", id=item_id, role="user", content=[{"type": "input_text", "text": "Draw."}])


def shown(found):
    """The parts of a message, pictures by file id."""
    return [
        part["text"]["value"] if part["type"] == "text" else part["image_file"]["file_id"]
        for part in found["content"]
    ]


async def test_a_picture_of_code_is_a_step_output_a_part_and_a_file(start):
    call = drawn("ci_1", logs("one"), picture(), logs("two"))
    upstream = FakeThread([call, {"type": "reasoning", "id": "rs_1"}, message("There.")])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        client = service.client
        page = (await client.get(MESSAGES)).json()
        [found] = page["data"]
        assert (await client.get(f"{MESSAGES}/msg_1")).json() == found
        part = {"type": "image_file", "image_file": {"file_id": "~1.ci_1.1", "detail": "auto"}}
        assert found["content"] == [
            part,
            {"type": "text", "text": {"value": "There.", "annotations": []}},
        ]
        steps = (await client.get("threads/thread_1/runs/run_1/steps", params={"order": "asc"})).json()
        [called] = steps["data"][0]["step_details"]["tool_calls"]
        assert called["code_interpreter"]["outputs"] == [
            logs("one"),
            {"type": "image", "image": {"file_id": "~1.ci_1.1"}},
            logs("two"),
        ]
        content = await client.get("files/~1.ci_1.1/content")
        assert (content.status_code, content.content) == (200, PNG)
        assert content.headers["content-type"] == "image/png"
        assert content.headers["content-length"] == str(len(PNG))
        assert content.headers["x-content-type-options"] == "nosniff"
        file = (await client.get("files/~1.ci_1.1")).json()
        assert (file["id"], file["bytes"], file["filename"]) == ("~1.ci_1.1", len(PNG), "ci_1-1.png")
        assert (file["object"], file["purpose"]) == ("file", "assistants_output")
    reads = [request for request in fake.requests if request.path.endswith(("/items", "/items/ci_1"))]
    assert {request.query["include[]"] for request in reads} == {"code_interpreter_call.outputs"}


@pytest.mark.parametrize(
    ("data", "name", "kind"),
    [(PNG, "png", "image/png"), (JPEG, "jpg", "image/jpeg"), (WEBP, "webp", "image/webp")],
)
async def test_a_generated_picture_has_the_type_of_its_bytes(start, data, name, kind):
    upstream = FakeThread([generated("ig_1", data, output_format="png"), message("There.")])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        page = (await service.client.get(MESSAGES)).json()
        assert shown(page["data"][0]) == ["~1.ig_1.0", "There."]
        content = await service.client.get("files/~1.ig_1.0/content")
        assert (content.content, content.headers["content-type"]) == (data, kind)
        assert content.headers["content-disposition"].startswith(f'inline; filename="ig_1-0.{name}"')


async def test_a_picture_that_the_answer_cites_is_shown_once(start):
    def cited(file_id, name):
        place = {"start_index": 0, "end_index": 0, "container_id": "cntr_1"}
        return {"type": "container_file_citation", "file_id": file_id, "filename": name, **place}

    annotations = [cited("cfile_1", "plot.PNG"), cited("cfile_2", "data.csv"), cited("cfile_1", "plot.PNG")]
    answer = message("There.", annotations)
    upstream = FakeThread([drawn("ci_1", picture()), generated("ig_1"), answer])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        page = (await service.client.get(MESSAGES)).json()
    text = "There.【0†plot.PNG】【1†data.csv】【2†plot.PNG】"
    assert shown(page["data"][0]) == ["~1.ig_1.0", "cfile_1.cntr_1", text]


THREAD = [
    asked("msg_q1"),
    drawn("ci_1", picture(), picture()),
    message("Both.", id="msg_a1"),
    generated("ig_1"),
    asked("msg_q2"),
    generated("ig_2"),
    drawn("ci_2", picture()),
    message("One.", id="msg_a2"),
    message("Two.", id="msg_a3"),
    drawn("ci_3", picture()),
]
CONTENT = {
    "msg_q1": ["Draw."],
    "msg_a1": ["~1.ci_1.0", "~1.ci_1.1", "Both."],
    "msg_q2": ["Draw."],
    "msg_a2": ["~1.ig_2.0", "~1.ci_2.0", "One."],
    "msg_a3": ["Two."],
}


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("limit", [1, 2, 20])
async def test_pictures_join_the_answer_after_them_on_every_page(start, order, limit):
    upstream = FakeThread([], THREAD)
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        found, query = [], {"order": order, "limit": limit}
        while True:
            page = (await service.client.get(MESSAGES, params=query)).json()
            found += page["data"]
            if not page["has_more"]:
                break
            query["after"] = page["last_id"]
        single = [(await service.client.get(f"{MESSAGES}/{each['id']}")).json() for each in found]
    expected = list(CONTENT.items())
    assert [(each["id"], shown(each)) for each in found] == expected[:: 1 if order == "asc" else -1]
    assert single == found


@pytest.mark.parametrize("order", ["asc", "desc"])
async def test_pages_before_a_message_have_their_pictures(start, order):
    upstream = FakeThread([], THREAD)
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        end = {"asc": "msg_a3", "desc": "msg_q1"}[order]
        query = {"order": order, "before": end, "limit": 2}
        page = (await service.client.get(MESSAGES, params=query)).json()
    expected = {"asc": ["msg_q2", "msg_a2"], "desc": ["msg_q2", "msg_a1"]}[order]
    assert [(each["id"], shown(each)) for each in page["data"]] == [(key, CONTENT[key]) for key in expected]


@pytest.mark.parametrize(
    "item",
    [
        drawn("ci_1", {"type": "image", "url": "https://x.example/a.png"}),
        drawn("ci_1", {"type": "image", "url": None}),
        drawn("ci_1", {"type": "image", "url": "data:text/html;base64,aGk="}),
        drawn("ci_1", outputs=None),
        generated("ci_1", result=None),
        generated("ci_1" + "x" * 160),
        generated("ci.1"),
    ],
)
async def test_what_is_no_picture_is_not_shown(start, item):
    upstream = FakeThread([item, message("There.")])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        page = (await service.client.get(MESSAGES)).json()
        assert shown(page["data"][0]) == ["There."]
        steps = (await service.client.get("threads/thread_1/runs/run_1/steps")).json()["data"]
        calls = [call for step in steps for call in step["step_details"].get("tool_calls", [])]
        assert all(call["code_interpreter"]["outputs"] == [] for call in calls)
        error = error_of(await service.client.get("files/~1.ci_1.0/content"), 404)
    assert error["code"] == "file_not_found"


@pytest.mark.parametrize(
    "item",
    [
        generated("ig_1", result="bm90IGEgcGljdHVyZQ=="),
        generated("ig_1", result="%%%"),
        generated("ig_1", result="é"),
        generated("ig_2"),
        message("I am no picture.", id="ig_1"),
    ],
)
async def test_what_browsers_cannot_show_is_not_served(start, item):
    upstream = FakeThread([item])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        for path in ("files/~1.ig_1.0", "files/~1.ig_1.0/content", "files/~1.ig_1.1/content"):
            assert error_of(await service.client.get(path), 404)["code"] == "file_not_found"


@pytest.mark.parametrize("file_id", ["~", "~1", "~1.ig_1", "~1.ig_1.x", "~1..0", "~.ig_1.0", "~1.ig_1.²"])
async def test_malformed_ids_are_unknown_files(start, file_id):
    async with start() as service:
        for path in (f"files/{file_id}", f"files/{file_id}/content"):
            assert error_of(await service.client.get(path), 404)["code"] == "file_not_found"


async def test_a_picture_is_neither_deleted_nor_attached(start):
    upstream = FakeThread([generated("ig_1"), message("There.")])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url) as service:
        deleted = error_of(await service.client.delete("files/~1.ig_1.0"), 400)
        assert deleted["code"] == "picture_not_deletable"
        body = {"role": "user", "content": "Again.", "attachments": [{"file_id": "~1.ig_1.0", "tools": []}]}
        refused = error_of(await service.client.post(MESSAGES, json=body), 400)
        assert refused["param"] == "attachments[0].file_id"
        part = {"type": "image_file", "image_file": {"file_id": "~1.ig_1.0"}}
        body = {"role": "user", "content": [part]}
        assert error_of(await service.client.post(MESSAGES, json=body), 404)["code"] == "file_not_found"


async def test_pictures_belong_to_the_owner_of_their_thread(start):
    upstream = FakeThread([generated("ig_1"), message("There.")])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url, **GUARDED) as service:
        client = service.client
        user = bearer(await mint(client))
        thread, other = [(await client.post("threads", headers=user)).json()["id"] for _ in range(2)]
        page = (await client.get(f"threads/{thread}/messages", headers=user)).json()
        file_id, _ = shown(page["data"][0])
        path = f"files/{file_id}/content"
        assert (await client.get(path, headers=user)).content == PNG
        assert (await client.get(path, headers=bearer(await mint(client, thread_id=thread)))).content == PNG
        strangers = [await mint(client, thread_id=other), await mint(client, user="u2"), KEY_B]
        for token in strangers:
            error = error_of(await client.get(path, headers=bearer(token)), 404)
            assert error["code"] == "file_not_found"
        forged = file_id.replace("ig_1", "ig_2")
        error_of(await client.get(f"files/{forged}/content", headers=user), 404)


async def test_a_stream_tells_pictures_before_the_text(start):
    answer = message("There, look.", [{"type": "file_citation", "index": 5, "file_id": "f", "filename": "a"}])
    upstream = FakeThread([drawn("ci_1", logs("one"), picture()), generated("ig_1"), answer])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url, is_served=True) as service:
        body = {"assistant_id": ASSISTANT, "stream": True}
        events = frames((await service.client.post("threads/thread_1/runs", json=body)).text)
        again = frames((await service.client.get("threads/thread_1/runs/run_1/events")).text)
        page = (await service.client.get(MESSAGES)).json()
    assert names(events) == names(again) == STREAMED
    parts = [data["delta"]["content"][0] for name, data in events if name == "thread.message.delta"]
    assert [(part["index"], part["type"]) for part in parts] == [
        (0, "image_file"),
        (1, "image_file"),
        (2, "text"),
        (2, "text"),
        (2, "text"),
    ]
    assert parts[0] == {"index": 0, **page["data"][0]["content"][0]}
    assert "".join(part["text"]["value"] for part in parts[2:]) == "There【0†a】, look."
    (ended,) = [data for name, data in events if name == "thread.message.completed"]
    assert ended["content"] == page["data"][0]["content"]


async def test_a_message_that_is_cut_off_keeps_its_pictures(start):
    class Cut(FakeThread):
        def events(self):
            *told, _, _ = super().events()
            response = {**self.response, "status": "failed", "output": []}
            return [*told, {"type": "response.failed", "response": response}]

    upstream = Cut([generated("ig_1"), message("There.")])
    async with fake_upstream(upstream.handle) as fake, start(url=fake.url, is_served=True) as service:
        body = {"assistant_id": ASSISTANT, "stream": True}
        events = frames((await service.client.post("threads/thread_1/runs", json=body)).text)
    (ended,) = [data for name, data in events if name == "thread.message.incomplete"]
    assert shown(ended) == ["~1.ig_1.0", "There."]


STREAMED = [
    "thread.run.created",
    "thread.run.queued",
    "thread.run.in_progress",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.run.step.delta",
    "thread.run.step.completed",
    "thread.run.step.created",
    "thread.run.step.in_progress",
    "thread.message.created",
    "thread.message.in_progress",
    "thread.message.delta",
    "thread.message.completed",
    "thread.run.step.completed",
    "thread.run.completed",
    "done",
]
