"""The pages without a browser: what they forbid, how they are cached, what they say when unbuilt."""

import re
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest
from fastapi import FastAPI

from app.api import pages
from app.core.config import DEFAULT_UPLOAD_TYPES
from app.core.files.service import file_url
from app.core.ui_file import UiFile
from tests.api.browsing import AUTH, SOURCE, browsing, config_of
from tests.conftest import Start
from tests.support import error_of, make_settings


async def test_the_playgrounds_policy_lets_nothing_foreign_in(built: Path, start: Start):
    async with browsing(start) as client:
        response = await client.get("/playground")
    policy = dict(
        part.strip().split(" ", 1) for part in response.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == policy["style-src"] == "'self'"
    assert policy["connect-src"] == "'self' blob:"
    assert policy["frame-ancestors"] == policy["base-uri"] == policy["form-action"] == "'none'"
    assert "unsafe" not in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"


async def test_names_cannot_break_out_of_the_page(built: Path, start: Start):
    name = "</script><script>alert(1)</script>"
    async with browsing(start, assistant_name=name) as client:
        page = (await client.get("/playground")).text
    assert "<script>alert" not in page
    assert config_of(page)["assistant"] == name


async def test_the_page_names_assistant_and_upstream(built: Path, start: Start):
    async with browsing(start, assistant_name="Ann", assistant_model="gpt-test") as client:
        config = config_of((await client.get("/playground")).text)
    assert config == {
        "mode": "page",
        "assistant": "Ann",
        "description": None,
        "model": "gpt-test",
        "upstream": "custom",
        "responder": None,
        "token_url": None,
        "closed": None,
        "ui": dict.fromkeys(UiFile.model_fields),
        "features": {"feedback": False, "threads": False},
        "files": {
            "max_files": 10,
            "max_bytes": 536_870_912,
            "extensions": [f".{name}" for name in DEFAULT_UPLOAD_TYPES],
        },
    }


async def test_under_auth_a_backend_elsewhere_may_be_asked_for_sessions(built: Path, start: Start):
    url = "https://shop.test/token"
    async with browsing(start, playground_token_url=url, **AUTH) as client:
        response = await client.get("/playground")
    assert config_of(response.text)["token_url"] == url
    assert "connect-src 'self' blob: https://shop.test;" in response.headers["content-security-policy"]


async def test_under_auth_without_sessions_the_page_says_what_to_set(built: Path, start: Start):
    async with browsing(start, **AUTH) as client:
        config = config_of((await client.get("/playground")).text)
        assert config["closed"] == "noSessions"
        error_of(await client.post("/playground/session"), 404)


async def test_on_a_developers_machine_the_page_mints_sessions(built: Path, start: Start):
    async with browsing(start, playground_sessions=True, **AUTH) as client:
        session = (await client.post("/playground/session")).json()
        headers = {"authorization": f"Bearer {session['client_secret']}"}
        assert (await client.post("/api/v1/threads", headers=headers)).status_code == 200
        error_of(await client.post("/api/v1/sessions", headers=headers, json={"user": "x"}), 403)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"host": "0.0.0.0"}, "strangers"), ({"auth_mode": "jwt", "api_keys": {}}, "API_KEYS")],
)
def test_sessions_for_everybody_stay_on_loopback(changes: dict[str, Any], reason: str):
    jwt = {"jwt_secret": "s" * 32, "jwt_issuer": "i", "jwt_audience": "a"}
    with pytest.raises(ValueError, match=reason):
        make_settings(**(AUTH | jwt | {"playground_sessions": True} | changes))


async def test_without_the_bundle_one_sentence_says_what_to_run(built: Path, start: Start):
    (built / "app.html").unlink()
    async with browsing(start) as client:
        response = await client.get("/playground")
        assert response.status_code == 200
        assert "npm ci" in response.text
        assert (await client.get("/api/v1/health")).status_code == 200


async def test_swagger_ui_is_ours_where_it_is_built(built: Path, start: Start):
    (built / "docs.html").write_text("<title>{{title}}</title><script src=assets/docs.js?{{version}}>")
    async with browsing(start) as client:
        response = await client.get("/docs")
        assert response.text.startswith("<title>Soloist</title><script src=assets/docs.js?")
        assert "{{" not in response.text
        policy = response.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
        assert "unsafe" not in policy
    async with browsing(start, docs_enabled=False) as client:
        error_of(await client.get("/docs"), 404)


async def test_without_the_bundle_swagger_ui_is_fastapis(built: Path, start: Start):
    async with browsing(start) as client:
        response = await client.get("/docs")
    assert response.status_code == 200
    assert "/openapi.json" in response.text


async def test_the_playground_can_be_switched_off(built: Path, start: Start):
    async with browsing(start, playground_enabled=False) as client:
        error_of(await client.get("/playground"), 404)
        assert (await client.get("/")).json()["links"]["playground"] is None
        assert (await client.get("/embed.js")).status_code == 200


async def test_the_widget_is_cached_shortly_and_its_chunks_for_ever(built: Path, start: Start):
    async with browsing(start) as client:
        widget = await client.get("/embed.js")
        assert widget.content == SOURCE
        assert widget.headers["content-encoding"] == "gzip"
        assert widget.headers["cache-control"] == "public, max-age=300"
        assert widget.headers["access-control-allow-origin"] == "*"
        again = await client.get("/embed.js", headers={"if-none-match": widget.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        plain = await client.get("/embed.js", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
        assert plain.content == SOURCE
        chunk = await client.get("/assets/chunk-A1.js")
        assert "immutable" in chunk.headers["cache-control"]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("chunk-A1.js", "text/javascript; charset=utf-8"),
        ("font-A1.woff2", "font/woff2"),
        ("mark-A1.svg", "image/svg+xml"),
        ("words-A1.json", "application/json"),
    ],
)
async def test_assets_have_their_types_and_fonts_are_packed_once(
    built: Path, start: Start, name: str, kind: str
):
    async with browsing(start) as client:
        response = await client.get(f"/assets/{name}")
    assert (response.status_code, response.headers["content-type"]) == (200, kind)
    assert response.headers["cross-origin-resource-policy"] == "cross-origin"
    assert "content-encoding" not in response.headers
    assert response.content == (built / "assets" / name).read_bytes()


@pytest.mark.parametrize("path", ["/assets/none.js", "/assets/..%2fapp.html", "/assets/%2e%2e/app.html"])
async def test_nothing_but_the_bundle_is_served(path: str, built: Path, start: Start):
    async with browsing(start) as client:
        error_of(await client.get(path), 404)


def test_pages_are_no_part_of_the_api_document():
    app = FastAPI()
    app.include_router(pages.build_router(make_settings()))
    assert app.openapi()["paths"] == {}


BROWSER = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


async def test_the_root_is_a_page_for_browsers_and_json_for_programs(built: Path, start: Start):
    async with browsing(start, assistant_name="<b>Ann", assistant_model="gpt-test") as client:
        page, card = await client.get("/", headers=BROWSER), await client.get("/")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["vary"] == card.headers["vary"] == "accept"
    assert "<h1>&lt;b&gt;Ann</h1>" in page.text
    assert "Answers come from custom, model gpt-test." in page.text
    assert re.findall(r'<a href="(.*?)"', page.text) == ["playground", "docs", "openapi.json", "api/v1/ready"]
    command = "curl http://localhost/api/v1/chat -H 'content-type: application/json'"
    assert command + """ -d '{"message":"Hello"}'""" in page.text
    assert card.json()["links"]["playground"] == "/playground"
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "unsafe" not in policy


async def test_the_root_page_links_only_what_is_served(built: Path, start: Start):
    shown = {"playground_enabled": False, "docs_enabled": False, "public_url": "https://ann.test/x"}
    async with browsing(start, **AUTH, **shown) as client:
        page = (await client.get("/", headers=BROWSER)).text
    assert re.findall(r'<a href="(.*?)"', page) == ["api/v1/ready"]
    assert "curl https://ann.test/x/api/v1/chat -H 'authorization: Bearer YOUR_KEY' -H" in page


async def test_a_favicon_is_there(start: Start):
    async with browsing(start) as client:
        response = await client.get("/favicon.ico")
    assert (response.status_code, response.headers["content-type"]) == (200, "image/svg+xml")


class TestUnderAPrefix:
    @pytest.mark.parametrize(
        "settings",
        [
            {"root_path": "/openai-api"},
            {"root_path": "openai-api/"},
            {"public_url": "https://x.example/openai-api/"},
            {"public_url": "https://x.example", "root_path": "/openai-api"},
        ],
    )
    @pytest.mark.parametrize("asked", ["", "/openai-api"])
    async def test_links_and_documents_name_it(self, built: Path, start: Start, settings, asked):
        async with browsing(start, **settings) as client:
            links = (await client.get(f"{asked}/")).json()["links"]
            assert links["docs"] == "/openai-api/docs"
            for name, link in links.items():
                assert (await client.get(link)).status_code == (405 if name == "chat" else 200)
            document = (await client.get(f"{asked}/openapi.json")).json()
            assert document["servers"] == [{"url": "/openai-api"}]
            assert "'/openai-api/openapi.json'" in (await client.get(f"{asked}/docs")).text
            assert (await client.get(f"{asked}/embed.js")).status_code == 200

    @pytest.mark.parametrize(
        ("settings", "base"),
        [
            ({"root_path": "/openai-api"}, "/openai-api"),
            ({"public_url": "https://x.example/openai-api/"}, "https://x.example/openai-api"),
            ({"public_url": "https://x.example", "root_path": "/a/b"}, "https://x.example/a/b"),
            ({"public_url": "https://x.example/"}, "https://x.example"),
            ({"root_path": "/"}, ""),
            ({}, ""),
        ],
    )
    def test_links_to_files_name_it(self, settings, base):
        assert file_url(make_settings(**settings))("file_1") == f"{base}/api/v1/files/file_1/content"

    @pytest.mark.parametrize("settings", [{"root_path": "/a"}, {"public_url": "http://localhost/a/"}])
    async def test_the_line_to_try_names_it(self, built: Path, start: Start, settings):
        async with browsing(start, **settings) as client:
            page = await client.get("/a/", headers=BROWSER)
        assert "curl http://localhost/a/api/v1/chat" in page.text

    @pytest.mark.parametrize(
        ("host", "origin", "status"),
        [
            ("x.example", "https://x.example", 200),
            ("x.example", None, 200),
            ("evil.example", None, 400),
            ("evil.example", "http://evil.example", 400),
            ("x.example", "https://evil.example", 403),
            ("x.example", "", 403),
        ],
    )
    async def test_the_public_address_and_its_pages_may_call(self, start: Start, host, origin, status):
        async with browsing(start, public_url="https://X.example/a/") as client:
            headers = {"host": host} | ({"origin": origin} if origin is not None else {})
            sent = await client.post("/a/api/v1/chat", json={"message": "hi"}, headers=headers)
        assert sent.status_code == status

    @pytest.mark.parametrize("asked", ["/api/v1", "/api/api/v1"])
    async def test_a_prefix_may_begin_as_our_own_paths(self, start: Start, asked):
        async with browsing(start, root_path="/api") as client:
            assert (await client.get(f"{asked}/health")).status_code == 200
            sent = await client.post(f"{asked}/chat/", json={"message": "hi"})
            assert sent.json()["message"] == "You said: hi"

    @pytest.mark.parametrize("path", ["/openai-api/api/v1/threads", "//api/v1/threads", "/api//v1/threads/"])
    async def test_no_spelling_of_a_path_is_open(self, start: Start, path):
        async with browsing(start, root_path="/openai-api", **AUTH) as client:
            url = f"http://localhost{path}"
            assert error_of(await client.post(url), 401)["code"] == "missing_credential"

    async def test_other_paths_that_begin_alike_are_none_of_ours(self, start: Start):
        async with browsing(start, root_path="/openai-api") as client:
            error_of(await client.get("/openai-apix/api/v1/health"), 404)
            assert (await client.get("/openai-api")).json()["name"] == "Soloist"

    @pytest.mark.parametrize(
        "settings",
        [
            {"root_path": "a b"},
            {"root_path": "https://x.example"},
            {"root_path": "/a", "public_url": "https://x.example/b"},
        ],
    )
    def test_what_is_no_prefix_is_refused(self, settings):
        with pytest.raises(ValueError, match="ROOT_PATH"):
            make_settings(**settings)


class TestSlashes:
    async def test_one_at_the_end_changes_nothing_for_any_route(self, built: Path, start: Start):
        async with browsing(start, playground_sessions=True, metrics_token="t") as client:
            document = (await client.get("/openapi.json/")).json()
            paths = [(path, method) for path, found in document["paths"].items() for method in found]
            pages = ("/docs", "/playground", "/embed", "/embed.js", "/metrics")
            paths += [(path, "get") for path in pages]
            for path, method in paths:
                plain, slashed = [
                    await client.request(method, path.replace("{", "x").replace("}", "") + end)
                    for end in ("", "/")
                ]
                # 501 where there is no store for it.
                assert slashed.status_code == plain.status_code, path
                assert plain.status_code < 500 or plain.status_code == 501, path
                assert slashed.headers.get("content-type") == plain.headers.get("content-type"), path
                assert "location" not in slashed.headers

    @pytest.mark.parametrize("path", ["/embed", "/embed/", "/x/embed", "/x/embed/"])
    async def test_frames_find_what_they_load(self, built: Path, start: Start, path):
        async with browsing(start, public_url="http://localhost/x") as client:
            page = await client.get(path)
        (style, script) = re.findall(r'(?:href|src)="([^"]*assets/[^"?]*)', page.text)
        root = path.rstrip("/").removesuffix("embed")
        assert [urljoin(path, link) for link in (style, script)] == [
            f"{root}assets/app.css",
            f"{root}assets/app.js",
        ]

    @pytest.mark.parametrize("path", ["/playground", "/playground/"])
    async def test_pages_find_what_they_load(self, built: Path, start: Start, path):
        async with browsing(start, playground_sessions=True, **AUTH) as client:
            page = await client.get(path)
            config = config_of(page.text)
            found = re.findall(r'(?:href|src)="([^"]*assets/[^"?]*)', page.text)
            assert found
            for link in found:
                assert urljoin(path, link).startswith("/assets/")
            assert urljoin(path, config["token_url"]) == "/playground/session"
