"""`python main.py --check` on conversations: who keeps them and why, and what state the store is in."""

import pytest
from sqlalchemy import text

from app.core.store.database import Database
from app.core.store.schema import newest_version
from app.server.commands.check import check_service
from app.server.startup import check_store
from tests.fake_openai import FakeOpenAI
from tests.fake_upstream import fake_upstream
from tests.support import embedded_upstream, make_settings

ASKED = "when it was asked for one"
SET = "Set CONVERSATIONS=own."
WITHOUT = (
    "warning: The assistant's upstream cannot carry out {}: it has no {}. Leave the tool out of "
    "'ASSISTANT_TOOLS', or let the operator choose an upstream that has it."
)
LATER = "ok: Whether the upstream stores responses is found out by the first turn, or by --check --live."


async def lines_of(url, *, is_live=False, **settings):
    """The findings about conversations, the store, tools and the live turns."""
    base = {"openai_base_url": url, "openai_api_key": "sk-secret", "conversations": "auto"}
    found = await check_service(make_settings(**(base | settings)), is_live=is_live)
    words = ("conversations", "store", "STORE_URL", "/files", "/vector_stores", "Live")
    return [f"{each.level}: {each.text}" for each in found if any(word in each.text for word in words)]


@pytest.fixture
def store_url(tmp_path):
    return f"sqlite:///{tmp_path / 'data' / 'soloist.db'}"


@pytest.mark.parametrize(("kind", "status"), [("responses", 404), ("nothing", 404)])
async def test_an_upstream_without_conversations_is_no_error(kind, status, store_url, tmp_path):
    async with embedded_upstream(kind=kind) as url:
        lines = await lines_of(url, store_url=store_url)
    assert lines == [
        f"ok: This service keeps conversations: the upstream answered {status} {ASKED}.",
        f"ok: The store (sqlite) is empty; a start makes schema {newest_version()}.",
        LATER,
    ]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("mode", "line"),
    [
        ("own", "ok: This service keeps conversations: CONVERSATIONS=own says so."),
        (
            "upstream",
            f"error: The upstream has no conversations: the upstream answered 404 {ASKED}. {SET}",
        ),
    ],
)
async def test_the_setting_decides(mode, line, store_url):
    async with embedded_upstream(kind="nothing") as url:
        assert (await lines_of(url, conversations=mode, store_url=store_url))[0] == line


async def test_an_upstream_with_conversations_needs_no_store():
    async with embedded_upstream() as url:
        assert await lines_of(url) == ["ok: The upstream keeps conversations."]


async def test_azure_is_known_by_its_settings(store_url):
    async with embedded_upstream(kind="responses", api_key="sesame") as url:
        lines = await lines_of(
            None,
            openai_api_key=None,
            azure_openai_endpoint=url.removesuffix("/v1"),
            azure_openai_key="sesame",
            store_url=store_url,
        )
    assert lines[0] == (
        "ok: This service keeps conversations: its host is known to have no Conversations API."
    )
    assert lines[2] == "ok: The upstream stores responses, so runs are read and followed there."


@pytest.mark.parametrize(
    ("status", "body", "answered"),
    [
        (500, {"error": {"message": "Broken"}}, "500"),
        (200, {"error": "Unexpected endpoint"}, "upstream_broken"),
    ],
)
async def test_an_answer_that_does_not_tell_is_an_error(status, body, answered, store_url):
    fake = FakeOpenAI()

    async def handle(request, connection):
        if request.path == "/v1/conversations":
            await connection.answer(status, body)
        else:
            await fake.handle(request, connection)

    async with fake_upstream(handle) as upstream:
        lines = await lines_of(upstream.url, store_url=store_url)
    assert lines[0] == (
        f"error: It is undecided who keeps conversations: the upstream answered {answered} {ASKED}. "
        "Set CONVERSATIONS=own or upstream."
    )


class TestStore:
    async def test_its_schema_is_told(self, store_url):
        database = Database(store_url)
        await database.open()
        async with embedded_upstream(kind="nothing") as url:
            # Beside a service that runs, whose file is locked.
            lines = await lines_of(url, store_url=store_url)
            assert (
                lines[1] == f"ok: The store (sqlite) answers and has schema {newest_version()}, the newest."
            )
            change = text("UPDATE soloist_schema SET version_num = '9'")
            await database.run(lambda connection: connection.execute(change))
            lines = await lines_of(url, store_url=store_url)
        await database.aclose()
        newest = f"this release's newest is {newest_version()}"
        assert lines[1] == f"ok: The store (sqlite) answers and has schema 9; {newest}."

    async def test_a_file_that_is_none_is_told_in_a_line(self, tmp_path):
        path = tmp_path / "soloist.db"
        path.write_bytes(b"no database at all" * 100)
        async with embedded_upstream(kind="nothing") as url:
            lines = await lines_of(url, store_url=f"sqlite:///{path}")
        assert lines[1] == "error: STORE_URL: the database cannot be read: file is not a database"

    async def test_a_place_that_cannot_be_written_is_told(self, tmp_path):
        (tmp_path / "file").touch()
        async with embedded_upstream(kind="nothing") as url:
            lines = await lines_of(url, store_url=f"sqlite:///{tmp_path / 'file' / 'soloist.db'}")
        assert lines[1].startswith("error: STORE_URL: ")
        assert lines[1].endswith(f"{tmp_path / 'file'} cannot be written to.")

    async def test_a_postgresql_that_is_away_is_told_without_its_password(self):
        async with embedded_upstream(kind="nothing") as url:
            lines = await lines_of(url, store_url="postgresql://me:sesame@127.0.0.1:9/soloist")
        assert lines[1].startswith("error: STORE_URL: the database cannot be read: ")
        assert "sesame" not in lines[1]
        assert "\n" not in lines[1]

    async def test_it_is_looked_at_where_the_upstream_keeps_conversations_too(self, store_url):
        async with embedded_upstream() as url:
            lines = await lines_of(url, store_url=store_url)
        assert lines == [
            "ok: The upstream keeps conversations.",
            f"ok: The store (sqlite) is empty; a start makes schema {newest_version()}.",
        ]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("conversations", []),
        (
            "nothing",
            [WITHOUT.format("code_interpreter", "/files"), WITHOUT.format("file_search", "/vector_stores")],
        ),
    ],
)
async def test_tools_without_a_server_are_told(kind, told, store_url):
    async with embedded_upstream(kind=kind) as url:
        lines = await lines_of(url, assistant_tools=["file_search", "code_interpreter"], store_url=store_url)
    assert [line for line in lines if line.startswith("warning")] == told


@pytest.mark.parametrize(
    ("kind", "reopened", "storing"),
    [
        ("responses", "works, and goes on at event 1", "The upstream stores responses, so runs are read"),
        ("nothing", "left out, as the upstream stores no", "The upstream stores no responses, so the store"),
    ],
)
async def test_live_turns_work_on_conversations_of_our_own(
    kind, reopened, storing, store_url, tmp_path, monkeypatch
):
    monkeypatch.setattr("app.server.live_check._POLL_SECONDS", 0.01)
    monkeypatch.setattr("app.server.live_check._SETTLE_SECONDS", 0)
    async with embedded_upstream(kind=kind, unsupported="refuse", token_ms=5) as url:
        lines = await lines_of(url, is_live=True, store_url=store_url)
    live = [line for line in lines if "Live" in line]
    assert [line for line in live if not line.startswith("ok")] == []
    assert len(live) == 11
    assert any(f"opened again: {reopened}" in line for line in live)
    assert lines[-1].startswith(f"ok: {storing}")
    # The turns are in a store of their own.
    assert list(tmp_path.iterdir()) == []


def test_a_start_says_in_a_line_that_the_store_cannot_be_used(tmp_path):
    (tmp_path / "file").touch()
    path = tmp_path / "file" / "soloist.db"
    settings = make_settings(store_url=f"sqlite:///{path}")
    with pytest.raises(ValueError, match=f"STORE_URL: {path} cannot be used: .* cannot be written to."):
        check_store(settings)
