"""JSON as clients really send it: under other content types, in other encodings, packed, and from pages."""

import gzip
import json
import zlib

import pytest

from tests.support import ASSISTANT, error_of, new_thread, stats

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
BODY = '{"message": "häh"}'
KINDS = [FORM, "text/plain;charset=UTF-8", "application/octet-stream", "text/json", None]
AUTH = {
    "auth_mode": "api_key",
    "api_keys": {"shop": "a-key-of-the-shop"},
    "secret_keys": ["secret-of-the-tests-with-32-characters"],
}


def typed(kind, **more):
    return ({"content-type": kind} if kind else {}) | more


async def said(client, content, **headers):
    response = await client.post("chat", content=content, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()["message"]


def raw_deflate(data):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize("kind", KINDS)
class TestTypes:
    async def test_json_is_read_under_any_type(self, client, kind):
        assert await said(client, BODY.encode(), **typed(kind)) == "You said: häh"

    async def test_by_every_route_that_takes_it(self, client, kind):
        thread_id = await new_thread(client)
        message = {"role": "user", "content": "hi"}

        for path, body in {
            f"threads/{thread_id}/messages": message,
            f"threads/{thread_id}": {"metadata": {"a": "b"}},
            f"threads/{thread_id}/runs": {"assistant_id": ASSISTANT},
            "threads/runs": {"assistant_id": ASSISTANT, "thread": {"messages": [message]}},
            "threads": {"messages": [message]},
            "threads/import": [message],
            "ag-ui": {"threadId": "t", "runId": "r", "messages": [message]},
            f"assistants/{ASSISTANT}": {},
            "chat": {"message": "hi", "stream": True},
        }.items():
            response = await client.post(path, content=json.dumps(body), headers=typed(kind))
            assert response.status_code == 200, (path, response.text)
        assert (await client.get(f"threads/{thread_id}")).json()["metadata"] == {"a": "b"}

    @pytest.mark.parametrize(
        "mark",
        [
            {"origin": "http://localhost:5173"},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ],
    )
    async def test_a_page_of_another_site_has_to_name_json(self, client, upstream, kind, mark):
        for path in ("chat", "ag-ui", "threads", "threads/runs", "threads/import", f"assistants/{ASSISTANT}"):
            sent = await client.post(path, content=BODY.encode(), headers=typed(kind, **mark))
            error = error_of(sent, 400)
            assert (error["param"], error["code"]) == ("content-type", "invalid_content_type")
            assert "'content-type: application/json'" in error["message"]
        assert (await stats(upstream))["responses_created"] == 0
        assert await said(client, BODY.encode(), **typed(JSON, **mark)) == "You said: häh"

    @pytest.mark.parametrize("origin", ["http://evil.example", "null"])
    async def test_a_page_that_may_not_call_is_refused_as_ever(self, client, kind, origin):
        sent = await client.post("chat", content=BODY.encode(), headers=typed(kind, origin=origin))
        assert error_of(sent, 403)["code"] == "origin_not_allowed"

    async def test_what_is_no_json_is_told_its_type(self, client, kind):
        error = error_of(await client.post("chat", content="message=hi", headers=typed(kind)), 400)
        assert (error["param"], error["code"]) == ("content-type", "invalid_content_type")
        assert (kind or "without one").partition(";")[0] in error["message"]


async def test_a_type_that_is_none_is_not_repeated(client):
    error = error_of(await client.post("chat", content="x", headers=typed("<b>/x")), 400)
    assert "<b>" not in error["message"]


@pytest.mark.parametrize("query", ["", "?unknown=1"])
async def test_the_user_of_a_wrongly_named_body_owns_its_thread(start, upstream, query):
    async with start(url=upstream, **AUTH) as service:
        key = {"authorization": "Bearer a-key-of-the-shop"}
        body = json.dumps({"message": "hi", "user": "ann"})
        made = await service.client.post(f"chat{query}", content=body, headers=typed(FORM, **key))
        path = f"threads/{made.json()['thread_id']}"
        assert (await service.client.get(path, headers=key | {"x-user-id": "ann"})).status_code == 200
        error_of(await service.client.get(path, headers=key | {"x-user-id": "bob"}), 404)


async def test_refused_bodies_count_against_the_limit(start, upstream):
    async with start(url=upstream, rate_limit_chat="2/minute", **AUTH) as service:
        headers = typed(FORM, authorization="Bearer a-key-of-the-shop")
        for status in (400, 400, 429):
            error_of(await service.client.post("chat", content="message=hi", headers=headers), status)


class TestEncodings:
    @pytest.mark.parametrize(
        ("encoding", "charset"),
        [
            ("utf-8-sig", None),
            ("utf-16", None),
            ("utf-16-le", None),
            ("utf-32", None),
            ("latin-1", "ISO-8859-1"),
            ("cp1252", '"windows-1252"'),
            ("utf-8", "iso-8859-1"),
        ],
    )
    @pytest.mark.parametrize("path", ["chat", "threads"])
    async def test_what_is_marked_or_named_is_read(self, client, encoding, charset, path):
        kind = f"{JSON}; charset={charset}" if charset else JSON
        body = {"message": "häh"} if path == "chat" else {"metadata": {"word": "häh"}}
        content = json.dumps(body, ensure_ascii=False).encode(encoding)
        response = await client.post(path, content=content, headers=typed(kind))
        assert response.status_code == 200, response.text
        found = response.json()
        assert (found["message"] if path == "chat" else found["metadata"]["word"]).endswith("häh")

    async def test_korean_is_read_where_its_charset_is_named(self, client):
        content = '{"message": "안녕"}'.encode("cp949")
        assert await said(client, content, **typed(f"{JSON}; charset=euc-kr")) == "You said: 안녕"

    @pytest.mark.parametrize("charset", [None, "utf-8", "idna", "zlib", "x" * 40])
    async def test_other_bytes_are_refused_with_the_remedy(self, client, upstream, charset):
        kind = f"{JSON}; charset={charset}" if charset else JSON
        sent = await client.post("chat", content=BODY.encode("latin-1"), headers=typed(kind))
        error = error_of(sent, 400)
        assert (error["param"], error["code"]) == ("body", "invalid_encoding")
        assert "charset=" in error["message"]
        assert (await stats(upstream))["responses_created"] == 0


class TestPacked:
    @pytest.mark.parametrize(
        ("name", "pack"),
        [
            ("gzip", gzip.compress),
            ("X-GZIP", gzip.compress),
            ("deflate", zlib.compress),
            ("deflate", raw_deflate),
        ],
    )
    async def test_packed_bodies_are_read(self, client, name, pack):
        packed = pack(BODY.encode("utf-16"))
        assert await said(client, packed, **typed(FORM), **{"content-encoding": name}) == "You said: häh"

    @pytest.mark.parametrize("path", ["chat", "threads", "threads/thread_x", f"assistants/{ASSISTANT}"])
    async def test_what_grows_over_the_limit_is_not_unpacked(self, start, upstream, path):
        packed = gzip.compress(b" " * 100_000)
        async with start(url=upstream, max_body_bytes=2_000) as service:
            headers = typed(JSON, **{"content-encoding": "gzip"})
            sent = await service.client.post(path, content=packed, headers=headers)
        assert error_of(sent, 413)["param"] == "body"

    @pytest.mark.parametrize(
        ("name", "content", "code"),
        [
            ("br", b"x", "unsupported_encoding"),
            ("gzip, gzip", gzip.compress(BODY.encode(), mtime=0), "unsupported_encoding"),
            ("gzip", BODY.encode("latin-1"), "invalid_encoding"),
            ("gzip", gzip.compress(BODY.encode(), mtime=0)[:-4], "invalid_encoding"),
            ("deflate", b"\xff\xff", "invalid_encoding"),
        ],
    )
    async def test_others_are_refused_by_the_header(self, client, name, content, code):
        headers = typed(JSON, **{"content-encoding": name})
        error = error_of(await client.post("threads/import", content=content, headers=headers), 400)
        assert (error["param"], error["code"]) == ("content-encoding", code)
