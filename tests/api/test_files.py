"""Files through the service: up, what is known of them, down, and gone."""

import asyncio
import json
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from tests.conftest import Start
from tests.support import error_of, until

BOUNDARY = "b0undary"
CSV = b"name,count\napples,3\npears,4\n"
PNG = b"\x89PNG\r\n\x1a\n<html><script>alert(1)</script></html>"
FILE_KEYS = {
    "id",
    "object",
    "bytes",
    "created_at",
    "expires_at",
    "filename",
    "purpose",
    "status",
    "status_details",
}
SECRET = "s" * 32


def part(name: str, content: bytes, filename: str | None = None) -> bytes:
    named = f'; filename="{filename}"' if filename is not None else ""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'
    return head.encode() + content + b"\r\n"


def form(*parts: bytes, boundary: str = BOUNDARY) -> dict[str, Any]:
    body = b"".join(parts) + f"--{BOUNDARY}--\r\n".encode()
    return {"content": body, "headers": {"content-type": f"multipart/form-data; boundary={boundary}"}}


PURPOSE = part("purpose", b"user_data")
WHOLE = form(PURPOSE, part("file", CSV, "data.csv"))


Case = tuple[str, dict[str, Any], str]
"""Name, request, and the field that the error has to blame."""


def _case(request: dict[str, Any], param: str, *, name: str) -> Case:
    return name, request, param


def _cuts() -> list[Case]:
    body: bytes = WHOLE["content"]
    # The two last bytes end a line after the closing boundary: without them the form is whole all the same.
    places = range(0, len(body) - 2, 4)
    return [_case({**WHOLE, "content": body[:at]}, "body", name=f"cut-at-{at}") for at in places]


BAD_TYPES = ["exe", "dll", "bat", "com", "scr", "msi", "apk", "iso", "bin", "jar", "vbs", "ps1"]
BAD_NAMES = ["", ".", "..", "/", "a/..", "x\x00.csv", "a\x1b[31m.csv", "gpj\u202e.csv", "n" * 256 + ".csv"]
BAD_EXPIRY = [b"60", b"x", b"-1", b"1e9", b"9999999999", "\uff13\uff16\uff10\uff10".encode()]

BROKEN = [
    *_cuts(),
    *[
        _case({**WHOLE, "headers": {"content-type": kind}}, param, name=f"type-{number}")
        for number, (kind, param) in enumerate(
            [
                ("application/json", "content-type"),
                ("text/plain", "content-type"),
                ("multipart/form-data", "content-type"),
                ("multipart/mixed; boundary=b0undary", "content-type"),
                ("multipart/form-data; boundary=", "content-type"),
                ("multipart/form-data; boundary=other", "body"),
                ("multipart/form-data; boundary=b0undar", "body"),
                ("multipart/form-data; boundary=" + "b" * 300, "body"),
            ]
        )
    ],
    *[_case(form(PURPOSE, part("file", CSV, f"a.{kind}")), "file", name=f"is-{kind}") for kind in BAD_TYPES],
    _case(form(PURPOSE, part("file", CSV, "Makefile")), "file", name="no-extension"),
    *[
        _case(form(PURPOSE, part("file", CSV, name)), "file", name=f"name-{number}")
        for number, name in enumerate(BAD_NAMES)
    ],
    _case(form(PURPOSE, part("file", b"", "empty.csv")), "file", name="zero-bytes"),
    _case(form(part("file", b"", "empty.csv"), PURPOSE), "file", name="zero-bytes-first"),
    _case(form(), "file", name="no-parts"),
    _case(form(PURPOSE), "file", name="no-file"),
    _case(form(PURPOSE, part("file", CSV)), "file", name="file-as-field"),
    _case(form(PURPOSE, part("document", CSV, "a.csv")), "file", name="other-field"),
    _case(form(part("file", CSV, "a.csv")), "purpose", name="no-purpose"),
    _case(form(part("purpose", b"mischief"), part("file", CSV, "a.csv")), "purpose", name="bad-purpose"),
    _case(form(part("file", CSV, "a.csv"), part("purpose", b"x")), "purpose", name="bad-purpose-last"),
    _case(form(PURPOSE, part("file", CSV, "a.csv"), part("file", CSV, "b.csv")), "file", name="two-files"),
    _case(form(PURPOSE, part("file", CSV, "a.csv"), part("more", CSV, "b.csv")), "file", name="another-file"),
    _case(form(PURPOSE, part("", CSV, "a.csv")), "body", name="nameless-part"),
    _case(form(part("purpose", b"\xff\xfe"), part("file", CSV, "a.csv")), "body", name="not-utf-8"),
    _case(
        form(PURPOSE, *[part(f"f{n}", b"x") for n in range(80)], part("file", CSV, "a.csv")),
        "f63",
        name="many-fields",
    ),
    *[
        _case(
            form(
                PURPOSE,
                part("expires_after[anchor]", b"created_at"),
                part("expires_after[seconds]", seconds),
                part("file", CSV, "a.csv"),
            ),
            "expires_after[seconds]",
            name=f"expiry-{number}",
        )
        for number, seconds in enumerate(BAD_EXPIRY)
    ],
    _case(
        form(PURPOSE, part("expires_after[seconds]", b"3600"), part("file", CSV, "a.csv")),
        "expires_after",
        name="expiry-without-anchor",
    ),
    _case(
        form(
            PURPOSE,
            part("file", CSV, "a.csv"),
            part("expires_after[anchor]", b"tomorrow"),
            part("expires_after[seconds]", b"3600"),
        ),
        "expires_after[anchor]",
        name="expiry-with-bad-anchor",
    ),
]


async def upload(
    client: httpx2.AsyncClient, name: str = "data.csv", content: bytes = CSV, purpose: str = "user_data"
) -> dict[str, Any]:
    response = await client.post("files", files={"file": (name, content)}, data={"purpose": purpose})
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


class TestBrokenUploads:
    def test_there_are_a_hundred(self):
        assert len(BROKEN) >= 100

    async def test_each_is_refused_and_leaves_nothing(self, start: Start, tmp_path, adapter):
        db = str(tmp_path / "upstream.db")
        async with start(knobs={"db": db}, upstream_adapter=adapter) as service:
            blamed = {}
            for name, request, _ in BROKEN:
                error = error_of(await service.client.post("files", **request), 400)
                blamed[name] = error["param"]
            assert blamed == {name: param for name, _, param in BROKEN}
            assert (await service.client.get("files")).json()["data"] == []
            assert _stored(db) == []
            assert (await upload(service.client))["bytes"] == len(CSV)

    async def test_a_connection_that_breaks_leaves_nothing(self, start: Start, tmp_path, adapter):
        db = str(tmp_path / "upstream.db")
        async with start(knobs={"db": db}, is_served=True, upstream_adapter=adapter) as service:
            for cut in (0, 10, 60, 150, 170):
                await _break_off(service.base_url, WHOLE["content"], cut)
            assert (await upload(service.client))["bytes"] == len(CSV)
            await until(lambda: len(_stored(db)) == 1)
            assert len((await service.client.get("files")).json()["data"]) == 1

    async def test_a_file_over_the_limit_is_413(self, start: Start, adapter):
        async with start(is_served=True, upstream_adapter=adapter, max_upload_bytes=100_000) as service:
            response = await service.client.post(
                "files", data={"purpose": "user_data"}, files={"file": ("a.txt", b"x" * 100_001)}
            )
            error = error_of(response, 413)
            assert (error["param"], error["code"]) == ("file", "file_too_large")
            assert (await upload(service.client, "a.txt", b"x" * 100_000))["bytes"] == 100_000
            assert len((await service.client.get("files")).json()["data"]) == 1

    async def test_a_field_over_the_limit_is_413(self, start: Start):
        async with start(max_message_chars=10) as service:
            body = form(part("purpose", b"x" * 70_000), part("file", CSV, "a.csv"))
            assert error_of(await service.client.post("files", **body), 413)["param"] == "purpose"

    async def test_an_upload_that_stands_still_is_given_up(self, start: Start):
        async with start(is_served=True, openai_timeout_seconds=0.2) as service:
            reader, writer = await _send_part(service.base_url, WHOLE["content"], 120)
            head, body = (await reader.readuntil(b'"upload_stalled"}}')).split(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 400 ")
            assert set(json.loads(body)) == {"error"}
            writer.close()
            await writer.wait_closed()


def _stored(db: str) -> list[str]:
    return [path.name for path in Path(f"{db}.files").iterdir()]


async def _send_part(
    base_url: str, body: bytes, cut: int
) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Announce the whole body, and send a part of it."""
    address = urlsplit(base_url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    head = (
        f"POST {address.path}files HTTP/1.1\r\nhost: {address.netloc}\r\n"
        f"content-type: multipart/form-data; boundary={BOUNDARY}\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body[:cut])
    await writer.drain()
    return reader, writer


async def _break_off(base_url: str, body: bytes, cut: int) -> None:
    """Announce the whole body, send a part of it, and go away."""
    _, writer = await _send_part(base_url, body, cut)
    writer.close()
    await writer.wait_closed()


class TestUploads:
    async def test_a_file_has_every_key(self, live):
        made = await upload(live)
        assert set(made) == FILE_KEYS
        assert (made["object"], made["bytes"], made["filename"], made["purpose"], made["status"]) == (
            "file",
            len(CSV),
            "data.csv",
            "user_data",
            "processed",
        )
        assert (await live.get(f"files/{made['id']}")).json() == made

    async def test_fields_may_follow_the_file(self, live):
        last = [
            part("expires_after[seconds]", b"3600"),
            PURPOSE,
            part("expires_after[anchor]", b"created_at"),
        ]
        made = (await live.post("files", **form(part("file", CSV, "data.csv"), *last))).json()
        assert made["purpose"] == "user_data"
        assert made["expires_at"] == made["created_at"] + 3600

    async def test_names_survive_and_paths_do_not(self, client):
        for sent, stored in [
            ("../../etc/passwd.txt", "passwd.txt"),
            ("C:\\Users\\me\\notes.txt", "notes.txt"),
            ("/abs/olute.md", "olute.md"),
            ("日本語 – naïve.csv", "日本語 – naïve.csv"),
            ("e\u0301te\u0301.txt", "été.txt"),
            ("👩\u200d🔬.png", "👩\u200d🔬.png"),
            ("UPPER.CSV", "UPPER.CSV"),
            ("quo%22te.txt", "quo'te.txt"),
            ("semi;colon.txt", "semi;colon.txt"),
            ("  spaces .txt", "spaces .txt"),
        ]:
            made = (await client.post("files", **form(PURPOSE, part("file", CSV, sent)))).json()
            assert made["filename"] == stored
            headers = (await client.get(f"files/{made['id']}/content")).headers
            assert headers["content-disposition"].isascii()
            assert "/" not in headers["content-disposition"]

    @pytest.mark.parametrize(
        ("named", "stored"),
        [
            ("filename*=utf-8''n%C3%A4h.csv", "näh.csv"),
            ("filename=plain.csv; filename*=UTF-8'de'n%C3%A4h.csv", "näh.csv"),
            ("filename*=\"utf-8''n%C3%A4h.csv\"; filename=plain.csv", "näh.csv"),
            ("filename=plain.csv; filename*=iso-8859-1''n%E4h.csv", "näh.csv"),
            ("filename=plain.csv; filename*=utf-8''n%E4h.csv", "plain.csv"),
            ("filename=plain.csv; filename*=idna''n%C3%A4h.csv", "plain.csv"),
            ('filename="=?utf-8?B?7ZWc6rWtLmNzdg==?="', "한국.csv"),
            ('filename="=?UTF-8?Q?n=C3=A4h_1.csv?="', "näh 1.csv"),
            ('filename="=?utf-8?B?7ZWc6g==?= =?utf-8?B?ta0uY3N2?="', "한국.csv"),
            ('filename="=?euc-kr?B?x9GxuS5jc3Y=?="', "한국.csv"),
            ('filename="=?zlib?B?7ZWc6rWtLmNzdg==?=.csv"', "=?zlib?B?7ZWc6rWtLmNzdg==?=.csv"),
            ("filename*=utf-8''..%2F..%2Fx.csv", "x.csv"),
        ],
    )
    async def test_a_name_in_the_extended_form_is_read(self, client, named, stored):
        head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; {named}\r\n\r\n'
        made = (await client.post("files", **form(PURPOSE, head.encode() + CSV + b"\r\n"))).json()
        assert made["filename"] == stored

    async def test_empty_fields_and_files_count_as_absent(self, client):
        empty = [
            part("expires_after[anchor]", b""),
            part("expires_after[seconds]", b""),
            part("file", b"", ""),
        ]
        made = await client.post("files", **form(PURPOSE, *empty, part("file", CSV, "data.csv"), *empty))
        assert made.json()["filename"] == "data.csv"
        error = error_of(await client.post("files", **form(PURPOSE, part("file", b"", ""))), 400)
        assert (error["param"], error["code"]) == ("file", "missing_required_parameter")

    async def test_the_operator_chooses_the_types(self, start: Start):
        async with start(allowed_upload_types=["pdf", ".PNG"]) as service:
            refused = await service.client.post("files", **WHOLE)
            assert error_of(refused, 400)["code"] == "file_type_not_allowed"
            assert (await upload(service.client, "a.png"))["filename"] == "a.png"
        async with start(allowed_upload_types=["*"]) as service:
            assert (await upload(service.client, "Makefile"))["filename"] == "Makefile"

    async def test_large_files_arrive_whole(self, live):
        content = bytes(range(256)) * 12_000
        made = await upload(live, "big.zip", content)
        assert made["bytes"] == len(content)
        assert (await live.get(f"files/{made['id']}/content")).content == content


class TestDownloads:
    async def test_no_browser_runs_what_it_gets(self, start: Start):
        kinds = [
            ("data.csv", "text/csv; charset=utf-8", "attachment"),
            ("page.html", "application/octet-stream", "attachment"),
            ("image.svg", "application/octet-stream", "attachment"),
            ("code.js", "application/octet-stream", "attachment"),
            ("paper.pdf", "application/pdf", "attachment"),
            ("x.png", "image/png", "inline"),
        ]
        async with start(allowed_upload_types=["*"]) as service:
            for name, kind, disposition in kinds:
                made = await upload(service.client, name, PNG)
                response = await service.client.get(f"files/{made['id']}/content")
                assert response.content == PNG
                assert response.headers["content-type"] == kind
                assert response.headers["content-disposition"].startswith(f'{disposition}; filename="{name}"')
                assert response.headers["x-content-type-options"] == "nosniff"
                assert response.headers["content-security-policy"] == "default-src 'none'; sandbox"
                assert response.headers["content-length"] == str(len(PNG))

    async def test_ranges_are_passed_on(self, live):
        file_id = (await upload(live))["id"]
        response = await live.get(f"files/{file_id}/content", headers={"range": "bytes=5-9"})
        assert (response.status_code, response.content) == (206, CSV[5:10])
        assert response.headers["content-range"] == f"bytes 5-9/{len(CSV)}"

    async def test_a_range_beyond_the_end_is_416(self, live):
        file_id = (await upload(live))["id"]
        response = await live.get(f"files/{file_id}/content", headers={"range": "bytes=500-"})
        assert error_of(response, 416)["code"] == "range_not_satisfiable"
        assert response.headers["content-range"] == f"bytes */{len(CSV)}"

    async def test_a_range_that_is_none_is_not_passed_on(self, live):
        file_id = (await upload(live))["id"]
        response = await live.get(f"files/{file_id}/content", headers={"range": "lines=1-2"})
        assert (response.status_code, response.content) == (200, CSV)

    async def test_what_the_upstream_keeps_to_itself_is_told(self, client):
        file_id = (await upload(client, purpose="assistants"))["id"]
        error = error_of(await client.get(f"files/{file_id}/content"), 400)
        assert (error["code"], error["param"]) == ("download_not_allowed", "file_id")


class TestKnownFiles:
    async def test_a_deleted_file_is_unknown(self, client):
        file_id = (await upload(client))["id"]
        assert (await client.delete(f"files/{file_id}")).json() == {
            "id": file_id,
            "object": "file",
            "deleted": True,
        }
        for response in (
            await client.get(f"files/{file_id}"),
            await client.get(f"files/{file_id}/content"),
            await client.delete(f"files/{file_id}"),
        ):
            assert error_of(response, 404)["code"] == "file_not_found"

    async def test_files_are_listed_in_pages(self, client):
        made = [(await upload(client, f"{n}.csv"))["id"] for n in range(3)]
        page = (await client.get("files", params={"limit": 2, "order": "asc"})).json()
        assert ([each["id"] for each in page["data"]], page["has_more"]) == (made[:2], True)
        assert (page["first_id"], page["last_id"]) == (made[0], made[1])
        after = {"order": "asc", "after": page["last_id"]}
        assert [each["id"] for each in (await client.get("files", params=after)).json()["data"]] == made[2:]
        assert (await client.get("files", params={"purpose": "vision"})).json()["data"] == []

    async def test_forged_ids_are_unknown_without_asking_upstream(self, start: Start, upstream):
        async with start(url=upstream, secret_keys=[SECRET]) as service:
            made = await upload(service.client)
            bare = made["id"].rpartition("_")[0]
            for forged in (bare, f"{bare}_{'a' * 24}", made["id"][:-1], f"{bare}.cntr_1", "..%2fmodels"):
                assert error_of(await service.client.get(f"files/{forged}"), 404)["code"] in {
                    "file_not_found",
                    "unknown_url",
                }
            assert (await service.client.get(f"files/{made['id']}")).json() == made


class TestGeneratedFiles:
    async def _chart(self, client: httpx2.AsyncClient) -> dict[str, Any]:
        answer = (await client.post("chat", json={"message": "chart: a 1 b 2"})).json()
        [source] = answer["annotations"]
        found: dict[str, Any] = source
        return found

    async def test_a_chart_can_be_fetched_and_deleted(self, start: Start, adapter):
        tools = [{"type": "code_interpreter"}]
        async with start(assistant_tools=tools, secret_keys=[SECRET], upstream_adapter=adapter) as service:
            source = await self._chart(service.client)
            assert (source["type"], source["filename"]) == ("file_path", "chart.png")
            known = (await service.client.get(f"files/{source['file_id']}")).json()
            assert set(known) == FILE_KEYS
            assert (known["filename"], known["purpose"]) == ("chart.png", "assistants_output")
            content = await service.client.get(f"files/{source['file_id']}/content")
            assert content.content.startswith(b"\x89PNG\r\n\x1a\n")
            assert len(content.content) == known["bytes"]
            assert content.headers["content-type"] == "image/png"
            assert (await service.client.delete(f"files/{source['file_id']}")).json()["deleted"] is True

    async def test_an_expired_container_is_410(self, start: Start):
        tools = [{"type": "code_interpreter"}]
        async with start(knobs={"container_seconds": 0.0}, assistant_tools=tools) as service:
            file_id = (await self._chart(service.client))["file_id"]
            for path in (f"files/{file_id}", f"files/{file_id}/content"):
                assert error_of(await service.client.get(path), 410)["code"] == "file_expired"
