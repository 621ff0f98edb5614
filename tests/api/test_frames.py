"""The chat app in frames: who may frame it, what it is told, and what UI_FILE makes of it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from app.core.config import PROJECT_ROOT
from app.core.ui_file import load_ui
from main import create_app
from tests.api.browsing import AUTH, browsing, config_of
from tests.conftest import Start
from tests.support import error_of, make_settings

HOST_PAGE = "https://page.example"
KEY = {"authorization": "Bearer a-key-of-the-shop"}
PICTURE = "https://cdn.example/logo.svg"


def policy_of(response: Any) -> dict[str, str]:
    parts = response.headers["content-security-policy"].split("; ")
    return dict(part.split(" ", 1) for part in parts)


@pytest.fixture
def ui_file(tmp_path: Path):
    def write(content: Any) -> Path:
        path = tmp_path / "ui.json"
        path.write_text(content if isinstance(content, str) else json.dumps(content))
        return path

    return write


@pytest.mark.parametrize(
    ("path", "framers", "resources", "embedder"),
    [
        ("/embed", f"'self' {HOST_PAGE}", "cross-origin", "require-corp"),
        ("/embed/", f"'self' {HOST_PAGE}", "cross-origin", "require-corp"),
        ("/playground", "'none'", "same-origin", None),
        ("/usage", "'none'", "same-origin", None),
        ("/docs", "'none'", "same-origin", None),
        ("/embedded", None, "same-origin", None),
        ("/embed.js", None, "cross-origin", None),
        ("/assets/chunk-A1.js", None, "cross-origin", None),
        ("/openapi.json", None, "same-origin", None),
        ("/api/v1/health", "'none'", "same-origin", None),
        ("/api/v1/embed", "'none'", "same-origin", None),
    ],
)
async def test_the_frame_alone_may_be_framed(
    built: Path, start: Start, path: str, framers: str | None, resources: str, embedder: str | None
):
    (built / "docs.html").write_text("<title>{{title}}</title>")
    async with browsing(start, cors_origins=[HOST_PAGE]) as client:
        response = await client.get(path)
        head = await client.head(path)
    may_be_framed = path.startswith("/embed") and framers is not None
    for found in (response, head):
        assert found.headers.get("x-frame-options") == (None if may_be_framed else "DENY")
    policy = policy_of(response) if "content-security-policy" in response.headers else {}
    assert policy.get("frame-ancestors") == framers
    assert response.headers["cross-origin-resource-policy"] == resources
    assert response.headers.get("cross-origin-embedder-policy") == embedder
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["referrer-policy"] == "no-referrer"


async def test_the_frames_policy_lets_nothing_foreign_in(built: Path, start: Start):
    """What the page may ask for sessions is none of the frame's: it gets them from the page round it."""
    async with browsing(start, playground_token_url="https://shop.test/token", **AUTH) as client:
        response = await client.get("/embed")
    assert policy_of(response) == {
        "default-src": "'none'",
        "script-src": "'self'",
        "style-src": "'self'",
        "font-src": "'self'",
        "img-src": "'self' data: blob:",
        "media-src": "blob:",
        "connect-src": "'self' blob:",
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'self'",
    }


async def test_the_frame_is_told_no_more_than_anybody_may_know(built: Path, start: Start):
    hidden = {"assistant_description": "secret", "assistant_model": "gpt-secret", "playground_enabled": False}
    async with browsing(start, assistant_name="<Ann>", playground_sessions=True, **AUTH, **hidden) as client:
        page = await client.get("/embed")
    assert "secret" not in page.text
    assert "<title>&lt;Ann&gt;</title>" in page.text
    config = config_of(page.text)
    assert set(config) == {"mode", "assistant", "responder", "ui", "features", "files"}
    assert (config["mode"], config["assistant"], config["responder"]) == ("frame", "<Ann>", None)


class TestFeatures:
    """What the page is told of routes is what they answer."""

    async def test_without_a_store(self, built: Path, start: Start):
        async with browsing(start) as client:
            config = config_of((await client.get("/embed")).text)
            error_of(await client.get("/api/v1/threads"), 501)
            error_of(await client.post("/api/v1/feedback", json={"thread_id": "t", "value": "up"}), 501)
        assert config["features"] == {"feedback": False, "threads": False}

    @pytest.mark.parametrize(
        ("settings", "status"),
        [({}, 200), ({"host": "0.0.0.0", "allow_anonymous": True}, 403), (AUTH, 200)],
    )
    async def test_with_a_store(self, built: Path, start: Start, tmp_path: Path, settings: Any, status: int):
        store = f"sqlite:///{tmp_path / 'store.db'}"
        async with browsing(start, store_url=store, **settings) as client:
            config = config_of((await client.get("/playground")).text)
            listed = await client.get("/api/v1/threads", headers=KEY)
            rated = await client.post(
                "/api/v1/feedback", headers=KEY, json={"thread_id": "t", "message_id": "m", "value": "up"}
            )
        assert (listed.status_code, rated.status_code) == (status, 404)
        assert config["features"] == {"threads": status == 200, "feedback": True}

    async def test_the_rules_of_files_are_those_of_uploads(self, built: Path, start: Start):
        rules = {"max_files": 2, "max_upload_bytes": 5, "allowed_upload_types": ["txt", "md"]}
        async with browsing(start, **rules) as client:
            found = config_of((await client.get("/embed")).text)["files"]
        assert found == {"max_files": 2, "max_bytes": 5, "extensions": [".md", ".txt"]}
        async with browsing(start, allowed_upload_types=["*", "md"]) as client:
            assert config_of((await client.get("/embed")).text)["files"]["extensions"] == []

    async def test_a_file_goes_inside_the_message_where_the_upstream_has_no_place_for_it(
        self, built: Path, start: Start, tmp_path: Path
    ):
        kept = {"conversations": "own", "store_url": f"sqlite:///{tmp_path / 'store.db'}"}
        knobs = {"kind": "nothing", "unsupported": "refuse"}
        async with browsing(start, knobs=knobs, **kept) as client:
            found = []
            for _ in range(2):
                found.append(config_of((await client.get("/embed")).text)["files"]["max_bytes"])
                form: Any = {"file": ("a.txt", b"text"), "purpose": (None, "user_data")}
                error_of(await client.post("/api/v1/files", files=form), 400)
        assert found == [536_870_912, 10_485_760]


class TestUiFile:
    async def test_reaches_page_and_frame_as_it_is_written(self, built: Path, start: Start, ui_file: Any):
        ui = {
            "title": "</script>Ann",
            "logo": PICTURE,
            "avatar": "/ann.png",
            "colours": {"accent-text": "light-dark(#fff, rgb(0 0 0 / 80%))", "font": "'Noto Sans', serif"},
            "greeting": "안녕하세요",
            "starters": ["Where?", "When?"],
            "disclaimer": "May err.",
            "uploads": False,
            "languages": ["ko"],
            "on_disconnect": "detach",
        }
        async with browsing(start, ui_file=ui_file(ui)) as client:
            for path in ("/playground", "/embed"):
                response = await client.get(path)
                assert "<title>&lt;/script&gt;Ann</title>" in response.text
                assert config_of(response.text)["ui"] == ui
                assert policy_of(response)["img-src"] == "'self' data: blob: https://cdn.example"

    def test_the_documents_example_is_one(self, ui_file: Any):
        text = (PROJECT_ROOT / "docs" / "embedding.md").read_text(encoding="utf-8")
        (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
        assert load_ui(ui_file(example)).public() == json.loads(example)

    def test_stops_the_start_where_it_is_wrong(self, ui_file: Any):
        with pytest.raises(ValueError, match="title: write text"):
            create_app(make_settings(ui_file=ui_file({"title": 7})))

    @pytest.mark.parametrize(
        ("content", "told"),
        [
            ("{", "is no JSON: "),
            ("[]", "the whole: write a JSON object"),
            ({"titel": "A"}, "titel: is no key of this file; the keys are title, logo,"),
            ({"title": 7}, "title: write text in double quotes"),
            ({"title": ""}, "title: is empty"),
            ({"title": "x" * 101}, "title: write 100 characters at most"),
            ({"greeting": "x" * 2_001}, "greeting: write 2000 characters at most"),
            ({"disclaimer": "x" * 2_001}, "disclaimer: write 2000 characters at most"),
            ({"logo": "http://cdn.example/a.png"}, "logo: must be a whole https URL"),
            ({"logo": "javascript:alert(1)"}, "logo: must be"),
            ({"logo": "//cdn.example/a.png"}, "logo: must be"),
            ({"logo": "/\\cdn.example/a.png"}, "logo: must be"),
            ({"logo": "https://cdn.example;script-src/a.png"}, "logo: must be"),
            ({"logo": "https://user@cdn.example/a.png"}, "logo: must be"),
            ({"avatar": "data:text/html;base64,AAAA"}, "avatar: must be"),
            ({"avatar": "data:image/png;base64," + "A" * 100_000}, "avatar: write 100000 characters at most"),
            ({"colours": []}, "colours: write a JSON object"),
            ({"colours": {"acent": "red"}}, "colours.acent: must be one of 'accent', "),
            ({"colours": {"accent_text": "red"}}, "colours.accent_text: must be one of"),
            ({"starters": ["a"] * 13}, "starters: write 12 at most"),
            ({"starters": "a"}, "starters: write a list"),
            ({"starters": [""]}, "starters.0: is empty"),
            ({"starters": ["x" * 301]}, "starters.0: write 300 characters at most"),
            ({"uploads": "no"}, "uploads: write true or false"),
            ({"languages": []}, "languages: is empty"),
            ({"on_disconnect": "cancel"}, "on_disconnect: must be one of 'finish' or 'detach'"),
            ({"languages": ["Korean"]}, "languages.0: write language tags"),
        ],
    )
    def test_faults_name_file_field_and_remedy(self, ui_file: Any, content: Any, told: str):
        path = ui_file(content)
        with pytest.raises(ValueError, match="UI_FILE") as caught:
            load_ui(path)
        (line,) = str(caught.value).splitlines()
        assert line.startswith(f"UI_FILE={path}")
        assert told in line

    @pytest.mark.parametrize(
        "value",
        [
            "red; background: blue",
            "red} body {color: blue",
            "</style>",
            "\\72 ed",
            "url(https://evil.example)",
            "URL(x)",
            "image-set('//evil.example' 1x)",
            "var(--secret)",
            "expression(alert(1))",
            "rgb(1, 2, 3",
            "'Noto Sans",
            "red /* blue",
            "red\nblue",
            "@import",
            "",
            "x" * 201,
        ],
    )
    def test_colours_cannot_leave_their_declaration(self, ui_file: Any, value: str):
        with pytest.raises(ValueError, match=r"colours\.accent"):
            load_ui(ui_file({"colours": {"accent": value}}))

    def test_every_fault_is_told_at_once(self, ui_file: Any):
        with pytest.raises(ValueError, match="UI_FILE") as caught:
            load_ui(ui_file({"title": 1, "uploads": 2}))
        assert len(str(caught.value).splitlines()) == 2

    def test_a_file_that_is_not_there_is_refused(self, tmp_path: Path):
        with pytest.raises(ValueError, match="names no file"):
            make_settings(ui_file=tmp_path / "none.json")
