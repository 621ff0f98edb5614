"""Files and generated files through the SDK."""

import asyncio
import io
import resource
import struct
import zlib
from pathlib import Path

import httpx2
import pytest

from tests.embedded.support import collect, names, refused, stats, until

MANUAL = b"The red button stops the pump.\n\nThe green lever opens the sluice gate.\n"


def _stored(settings):
    return [path.name for path in Path(f"{settings.db}.files").iterdir()]


@pytest.fixture
def leftover(settings):
    part = Path(f"{settings.db}.files") / "file-x.part"
    part.parent.mkdir()
    part.write_bytes(b"half")
    return part.name


def _upload(client, data=MANUAL, name="manual.txt", purpose="user_data", **options):
    return client.files.create(file=(name, io.BytesIO(data)), purpose=purpose, **options)


class TestFiles:
    async def test_an_unknown_file_is_404(self, client):
        for call in (
            client.files.retrieve("file-none"),
            client.files.content("file-none"),
            client.files.delete("file-none"),
        ):
            with refused(404) as error:
                await call
            assert error["message"] == "No such File object: file-none"

    async def test_a_file_makes_the_round(self, client):
        made = await _upload(client)
        assert made.model_dump() == {
            "id": made.id,
            "object": "file",
            "bytes": len(MANUAL),
            "created_at": made.created_at,
            "expires_at": None,
            "filename": "manual.txt",
            "purpose": "user_data",
            "status": "processed",
            "status_details": None,
        }
        assert await client.files.retrieve(made.id) == made
        content = await client.files.content(made.id)
        assert content.read() == MANUAL
        assert content.response.headers["content-type"].startswith("text/plain")
        assert (await client.files.delete(made.id)).deleted is True
        with refused(404):
            await client.files.retrieve(made.id)

    async def test_a_range_is_a_part(self, client):
        made = await _upload(client)
        part = await client.files.content(made.id, extra_headers={"range": "bytes=4-6"})
        assert (part.response.status_code, part.read()) == (206, b"red")

    async def test_assistants_files_are_not_handed_out(self, client, serve):
        made = await _upload(client, purpose="assistants")
        with refused() as error:
            await client.files.content(made.id)
        assert error["message"] == "Not allowed to download files of purpose: assistants"

    async def test_files_are_listed_by_page_and_purpose(self, client):
        made = [(await _upload(client, name=f"{at}.txt")).id for at in range(3)]
        other = await _upload(client, purpose="assistants")
        page = await client.files.list(limit=2, order="asc")
        assert [file.id for file in page.data] == made[:2]
        assert page.has_more is True
        assert [file.id async for file in client.files.list(limit=2)] == [other.id, *reversed(made)]
        assert [file.id for file in (await client.files.list(purpose="assistants")).data] == [other.id]

    @pytest.mark.parametrize(
        ("fields", "param"),
        [
            ({"purpose": "fun"}, "purpose"),
            ({"expires_after": {"anchor": "created_at", "seconds": 5}}, "expires_after.seconds"),
            ({"expires_after": {"anchor": "now", "seconds": 5000}}, "expires_after.anchor"),
        ],
    )
    async def test_a_bad_form_names_its_field(self, client, fields, param):
        with refused() as error:
            await _upload(client, **fields)
        assert error["param"] == param

    async def test_an_expiry_is_told(self, client):
        made = await _upload(client, expires_after={"anchor": "created_at", "seconds": 3600})
        assert made.expires_at == made.created_at + 3600

    @pytest.mark.parametrize(
        "name", ["../../etc/passwd", "a/b.txt", "보고서 – final.txt", '"; x="y.txt', "<b>.html"]
    )
    async def test_odd_names_stay_inside(self, client, settings, name):
        made = await _upload(client, name=name)
        assert _stored(settings) == [made.id]
        assert (await client.files.content(made.id)).read() == MANUAL

    @pytest.mark.parametrize(
        ("content_type", "body"),
        [
            ("multipart/form-data; boundary=b", b"--wrong\r\nnonsense"),
            ("multipart/form-data", b"--b\r\n\r\n--b--"),
            ("multipart/form-data; boundary=b", b""),
            ("application/json", b"{}"),
            (
                "multipart/form-data; boundary=b",
                b'--b\r\ncontent-disposition: form-data; name="file"\r\n\r\nno filename\r\n--b--\r\n',
            ),
        ],
    )
    async def test_broken_forms_leave_nothing_behind(self, client, settings, content_type, body):
        async with httpx2.AsyncClient() as plain:
            answer = await plain.post(
                f"{client.base_url}files", content=body, headers={"content-type": content_type}
            )
        assert answer.status_code == 400
        assert answer.json()["error"]["type"] == "invalid_request_error"
        assert _stored(settings) == []

    async def test_an_upload_cut_off_leaves_nothing_behind(self, client, settings, caplog):
        _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
        head = b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 9999\r\n"
        form = b'--b\r\ncontent-disposition: form-data; name="file"; filename="f"\r\n\r\nhalf'
        writer.write(head + b"content-type: multipart/form-data; boundary=b\r\n\r\n" + form)
        await writer.drain()
        writer.close()
        await writer.wait_closed()

        async def noticed():
            return (await stats(client))["requests"].get("POST /v1/files") == 1

        await until(noticed)
        assert (await client.files.list()).data == []
        assert "embedded upstream failed" not in caplog.text
        assert _stored(settings) == []

    async def test_a_large_upload_is_never_whole_in_memory(self, client):
        async def parts():
            yield b'--b\r\ncontent-disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
            yield b'--b\r\ncontent-disposition: form-data; name="file"; filename="big.bin"\r\n\r\n'
            for _ in range(64):
                yield bytes(1024 * 1024)
            yield b"\r\n--b--\r\n"

        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        async with httpx2.AsyncClient(timeout=60) as plain:
            answer = await plain.post(
                f"{client.base_url}files",
                content=parts(),
                headers={"content-type": "multipart/form-data; boundary=b"},
            )
        grown_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        assert answer.json()["bytes"] == 64 * 1024 * 1024
        assert grown_kib < 32 * 1024

    async def test_leftovers_of_a_killed_upload_are_swept_at_start(self, serve, settings, leftover):
        assert _stored(settings) == [leftover]
        async with serve():
            assert _stored(settings) == []


class TestChart:
    async def test_a_chart_is_a_real_png_in_a_container(self, client):
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        events = await collect(
            await client.responses.create(
                model="m", input="Plot a chart: apples 3, pears 5", tools=tools, stream=True
            )
        )
        assert names(events)[2:7] == [
            "output_item.added",
            "code_interpreter_call.in_progress",
            "code_interpreter_call.interpreting",
            "code_interpreter_call.completed",
            "output_item.done",
        ]
        assert "output_text.annotation.added" in names(events)
        part = events[-1].response.output[1].content[0]
        (cited,) = part.annotations
        assert cited.type == "container_file_citation"
        assert part.text[cited.start_index : cited.end_index] == "sandbox:/mnt/data/chart.png"
        found = client.containers.files
        content = await found.content.retrieve(cited.file_id, container_id=cited.container_id)
        _check_png(content.read())
        told = await found.retrieve(cited.file_id, container_id=cited.container_id)
        assert (told.object, told.path) == ("container.file", "/mnt/data/chart.png")

    async def test_the_output_of_code_is_told_only_to_those_who_ask(self, client):
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        body = {"model": "m", "input": "chart: a 1 b 2", "tools": tools}
        include = ["code_interpreter_call.outputs"]
        plain = await client.responses.create(**body)
        asked = await client.responses.create(**body, include=include)
        assert plain.output[0].outputs is None
        assert [output.logs for output in asked.output[0].outputs] == ["chart.png: 2 bars\n"]
        read = await client.responses.retrieve(plain.id, include=include)
        assert read.output[0].outputs == asked.output[0].outputs
        assert (await client.responses.retrieve(asked.id)).output[0].outputs is None

    async def test_items_of_a_conversation_have_the_output_of_code_for_those_who_ask(self, client):
        conversation = await client.conversations.create()
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        body = {"model": "m", "input": "chart: a 1 b 2", "tools": tools, "conversation": conversation.id}
        await client.responses.create(**body)
        for include, known in (([], False), (["code_interpreter_call.outputs"], True)):
            page = await client.conversations.items.list(conversation.id, include=include)
            call = next(item for item in page.data if item.type == "code_interpreter_call")
            read = await client.conversations.items.retrieve(
                call.id, conversation_id=conversation.id, include=include
            )
            assert [bool(item.outputs) for item in (call, read)] == [known, known]

    async def test_streams_tell_the_output_of_code_as_it_was_asked_for(self, client):
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        body = {"model": "m", "input": "chart: a 1 b 2", "tools": tools, "stream": True}
        for include, known in (([], False), (["code_interpreter_call.outputs"], True)):
            events = await collect(await client.responses.create(**body, include=include))
            done = next(event for event in events if event.type == "response.output_item.done")
            added = next(event for event in events if event.type == "response.output_item.added")
            ended = events[-1].response.output[0]
            assert [bool(item.outputs) for item in (added.item, done.item, ended)] == [False, known, known]

    async def test_a_generated_file_is_deleted(self, client):
        tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
        response = await client.responses.create(model="m", input="chart a 1", tools=tools)
        cited = response.output[1].content[0].annotations[0]
        await client.containers.files.delete(cited.file_id, container_id=cited.container_id)
        with refused(404):
            await client.containers.files.retrieve(cited.file_id, container_id=cited.container_id)

    async def test_an_expired_container_is_gone(self, serve):
        async with serve(container_seconds=0) as client:
            tools = [{"type": "code_interpreter", "container": {"type": "auto"}}]
            response = await client.responses.create(model="m", input="chart a 1", tools=tools)
            cited = response.output[1].content[0].annotations[0]
            with refused(404) as error:
                await client.containers.files.content.retrieve(cited.file_id, container_id=cited.container_id)
            assert cited.container_id in error["message"]


def _check_png(data):
    assert data.startswith(b"\x89PNG\r\n\x1a\n")
    chunks, at = {}, 8
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        (checksum,) = struct.unpack(">I", data[at + 8 + size : at + 12 + size])
        assert checksum == zlib.crc32(kind + body)
        chunks[kind] = body
        at += size + 12
    width, height, depth, colour = struct.unpack(">IIBB", chunks[b"IHDR"][:10])
    assert (depth, colour) == (8, 2)
    pixels = zlib.decompress(chunks[b"IDAT"])
    assert len(pixels) == height * (1 + 3 * width)
    assert len(set(pixels)) > 4
