"""Files where the upstream has no place for them: sent inside the message, and not kept."""

import base64
import sqlite3
from contextlib import closing

import pytest

from app.core.files import upload
from app.embedded.kinds import supported_request
from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import fake_upstream
from tests.support import embedded_upstream, error_of, frames, names, new_thread

PDF, PICTURE = b"%PDF-1.7 the pump is red", b"\x89PNG\r\n\x1a\n the pump"
PDF_URL = f"data:application/pdf;base64,{base64.b64encode(PDF).decode()}"
PICTURE_URL = f"data:image/png;base64,{base64.b64encode(PICTURE).decode()}"
FILES = [("files", ("pump plan.pdf", PDF)), ("files", ("pump.png", PICTURE))]
SENT = [
    {"type": "input_text", "text": "look"},
    {"type": "input_file", "filename": "pump plan.pdf", "file_data": PDF_URL},
    {"type": "input_image", "detail": "auto", "image_url": PICTURE_URL},
    {"type": "input_text", "text": "[file pump.png]"},
]
KEPT = ["look", "[file pump plan.pdf, not kept]", "[file pump.png, not kept]"]
NO_FILES = "upstream_has_no_files"


@pytest.fixture
async def upstream():
    async with embedded_upstream(kind="nothing", unsupported="refuse") as url:
        yield url


@pytest.fixture
def store(tmp_path):
    return tmp_path / "soloist.db"


@pytest.fixture
async def live(start, upstream, store):
    settings = {"conversations": "own", "store_url": f"sqlite:///{store}"}
    async with start(url=upstream, is_served=True, **settings) as service:
        yield service.client


@pytest.fixture
def asked(monkeypatch):
    """The items of the requests for a response, as the upstream received them."""
    found = []

    def remembered(request, settings):
        found.append([item["content"] for item in request.input])
        return supported_request(request, settings)

    monkeypatch.setattr("app.embedded.routes.responses.supported_request", remembered)
    return found


def _stored(store):
    """All text in the store."""
    with closing(sqlite3.connect(store)) as database:
        return "\n".join(database.iterdump())


async def _texts(client, thread_id):
    page = (await client.get(f"threads/{thread_id}/messages", params={"order": "asc"})).json()
    return [[part["text"]["value"] for part in message["content"]] for message in page["data"]]


@pytest.mark.parametrize("background", ["cancel", "detach"])
async def test_files_of_a_form_reach_the_model_once_and_are_not_kept(live, asked, store, background):
    form = {"message": "look", "on_disconnect": background}
    first = await live.post("chat", data=form, files=FILES)
    assert first.status_code == 200, first.text
    thread_id = first.json()["thread_id"]
    body = {"message": "and now?", "thread_id": thread_id}
    assert (await live.post("chat", json=body)).status_code == 200
    assert asked[0][0] == SENT
    assert [part["text"] for part in asked[1][0]] == KEPT
    assert (await _texts(live, thread_id))[0] == KEPT
    found = _stored(store)
    assert "pump plan.pdf" in found
    assert "base64" not in found


async def test_a_form_that_is_streamed(live, asked):
    answer = await live.post("chat", data={"message": "look", "stream": "true"}, files=FILES[:1])
    assert names(frames(answer.text)) == ["thread", "delta", "done"]
    assert asked[0][0][1]["file_data"] == PDF_URL


async def test_a_file_of_a_ui_message_is_not_kept_but_a_picture_is(live, asked, store):
    parts = [
        {"type": "text", "text": "look"},
        {"type": "file", "mediaType": "application/pdf", "filename": "plan.pdf", "url": PDF_URL},
        {"type": "file", "mediaType": "image/png", "url": PICTURE_URL},
    ]
    body = {"messages": [{"role": "user", "parts": parts}], "stream": False}
    thread_id = (await live.post("chat", json=body)).json()["thread_id"]
    await live.post("chat", json={"message": "and now?", "thread_id": thread_id})
    assert [part["type"] for part in asked[0][0]] == ["input_text", "input_file", "input_image"]
    kept = [part.get("text") or part.get("image_url") for part in asked[1][0]]
    assert kept == ["look", "[file plan.pdf, not kept]", PICTURE_URL]
    assert PDF_URL not in _stored(store)


async def test_a_history_begins_without_its_files(live, asked, store):
    file = {"type": "file", "mediaType": "application/pdf", "filename": "plan.pdf", "url": PDF_URL}
    messages = [
        {"role": "user", "parts": [{"type": "text", "text": "look"}, file]},
        {"role": "assistant", "parts": [{"type": "text", "text": "Yes."}]},
        {"role": "user", "parts": [{"type": "text", "text": "again"}]},
    ]
    assert (await live.post("chat", json={"messages": messages, "stream": False})).status_code == 200
    assert [part["text"] for part in asked[0][0]] == ["look", "[file plan.pdf, not kept]"]
    assert PDF_URL not in _stored(store)


async def test_files_of_a_message_are_bounded_together(live, monkeypatch, asked):
    monkeypatch.setattr("app.core.files.service.MAX_INLINE_BYTES", 1_000)
    monkeypatch.setattr(upload, "MAX_INLINE_BYTES", 1_000)
    fits = [("files", (f"{number}.txt", b"x" * 500)) for number in range(2)]
    assert (await live.post("chat", data={"message": "look"}, files=fits)).status_code == 200
    over = [*fits, ("files", ("c.txt", b"x"))]
    error = error_of(await live.post("chat", data={"message": "look"}, files=over), 413)
    assert (error["param"], error["code"]) == ("files", "file_too_large")
    assert "1000 bytes together" in error["message"]
    refused = await live.post("chat", data={"message": "look"}, files=[("files", ("a.exe", b"x"))])
    assert error_of(refused, 400)["code"] == "file_type_not_allowed"
    assert len(asked) == 1


async def test_file_routes_say_that_there_are_none(live):
    form = {"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "user_data"}}
    answers = [
        await live.post("files", **form),
        await live.get("files"),
        await live.get("files/file-1"),
        await live.get("files/file-1/content"),
        await live.delete("files/file-1"),
    ]
    for answer in answers:
        error = error_of(answer, 400)
        assert error["code"] == NO_FILES
        assert "POST /chat" in error["message"]


async def test_attachments_name_their_field(live):
    thread_id = await new_thread(live)
    searched = {"file_id": "file-1", "tools": [{"type": "file_search"}]}
    for attachments, code, param in (
        ([{"file_id": "file-1", "tools": []}], NO_FILES, "attachments[0].file_id"),
        ([searched], "tool_not_supported", "attachments[0].tools"),
    ):
        body = {"role": "user", "content": "look", "attachments": attachments}
        error = error_of(await live.post(f"threads/{thread_id}/messages", json=body), 400)
        assert (error["code"], error["param"]) == (code, param)


async def test_the_upstream_is_asked_once(start, tmp_path):
    settings = {"conversations": "own", "store_url": f"sqlite:///{tmp_path / 's.db'}"}
    openai = FakeOpenAI()

    async def handle(request, connection):
        if "/files" in request.path:
            # LM Studio answers so.
            await connection.answer(200, {"error": "Unexpected endpoint or method."})
        else:
            await openai.handle(request, connection)

    async with fake_upstream(handle) as fake, start(url=fake.url, **settings) as service:
        for _ in range(2):
            assert error_of(await service.client.get("files/file-1/content"), 502)
            error = error_of(await service.client.post("files", **_form()), 400)
            assert error["code"] == NO_FILES
        asked = [request.method for request in fake.requests if request.path == "/v1/files"]
    assert asked == ["GET"]


def _form():
    return {"files": {"file": ("a.txt", b"x")}, "data": {"purpose": "user_data"}}


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (400, "'input_file' is not supported by llamacpp at this moment"),
        (
            500,
            "image input is not supported - hint: you may need to provide the mmproj",
        ),
    ],
)
async def test_a_model_that_takes_no_files_says_so(start, status, message):
    openai = FakeOpenAI()
    openai.refusals = [(status, {"error": {"code": status, "message": message}}, {})]
    async with fake_upstream(openai.handle) as fake, start(url=fake.url) as service:
        error = error_of(await service.client.post("chat", json={"message": "hi"}), 400)
    assert error["code"] == "file_not_supported"


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (400, {"error": {"message": "Invalid value: 'file_search'.", "param": "tools[0].type"}}),
        (400, {"error": "tool type code_interpreter is not supported"}),
        (422, {"detail": [{"loc": ["body", "tools"], "msg": "Input tag 'file_search' found using 'type'"}]}),
    ],
)
async def test_the_upstreams_own_refusal_of_a_tool_is_told(start, status, body):
    openai = FakeOpenAI()
    openai.refusals = [(status, body, {})]
    async with fake_upstream(openai.handle) as fake, start(url=fake.url) as service:
        error = error_of(await service.client.post("chat", json={"message": "hi"}), 400)
    assert (error["code"], error["param"]) == ("tool_not_supported", "tools")
    assert "ASSISTANT_TOOLS" in error["message"]
