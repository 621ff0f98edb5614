"""A commit that happened although its answer was lost: the call is made again, and does not do it twice."""

import pytest

from app.core.own_conversations.conversation_table import ConversationTable, Page
from app.core.own_conversations.turn_records import TurnEnd
from app.core.own_conversations.turn_table import TurnTable
from app.core.store.database import Database
from tests.store.support import rows_of

PAGE = Page(limit=20, is_descending=False, after=None)
ASKED = [{"id": "msg_asked", "type": "message", "role": "user", "content": []}]
SAID = [{"id": "msg_said", "type": "message", "role": "assistant", "content": []}]


@pytest.fixture
async def database(store_url):
    database = Database(store_url)
    await database.open()
    yield database
    await database.aclose()


@pytest.fixture
def lose_commit(database, monkeypatch):
    """Makes the answer to the next commit get lost."""
    dialect = database._engine.sync_engine.dialect
    commit = dialect.do_commit
    left: list[bool] = []

    def lost(connection):
        commit(connection)
        if left:
            left.clear()
            raise dialect.loaded_dbapi.OperationalError("the connection is lost")

    monkeypatch.setattr(dialect, "do_commit", lost)
    return lambda: left.append(True)


@pytest.fixture
def conversations(database):
    return ConversationTable(database)


@pytest.fixture
def turns(database):
    return TurnTable(database, "this process")


@pytest.fixture
async def conversation_id(conversations):
    return (await conversations.create({}, []))["id"]


def _end(response_id="resp_1"):
    return TurnEnd({"id": response_id, "status": "completed"}, ASKED, SAID, "model", is_stored=False)


async def _ids(conversations, conversation_id):
    return [item["id"] for item in (await conversations.page(conversation_id, PAGE))[0]]


async def test_a_conversation_is_created_once(conversations, lose_commit, store_url):
    lose_commit()
    created = await conversations.create({"k": "v"}, ASKED)
    assert (await conversations.get(created["id"]))["metadata"] == {"k": "v"}
    assert await _ids(conversations, created["id"]) == ["msg_asked"]
    assert rows_of(store_url, "SELECT count(*) FROM conversations") == [(1,)]


async def test_items_are_added_once(conversations, conversation_id, lose_commit):
    lose_commit()
    await conversations.append(conversation_id, ASKED)
    assert await _ids(conversations, conversation_id) == ["msg_asked"]


async def test_what_is_deleted_was_there(conversations, conversation_id, lose_commit):
    await conversations.append(conversation_id, ASKED)
    lose_commit()
    await conversations.delete_item(conversation_id, "msg_asked")
    lose_commit()
    await conversations.delete(conversation_id)


async def test_a_turn_begins_under_its_own_lease(turns, conversation_id, lose_commit):
    lose_commit()
    begun = await turns.begin(conversation_id)
    assert begun.lease.conversation_id == conversation_id
    await turns.release(begun.lease)
    await turns.begin(conversation_id)


async def test_a_turn_is_stored_once(turns, conversations, conversation_id, lose_commit):
    begun = await turns.begin(conversation_id)
    lose_commit()
    await turns.started(begun.lease, {"id": "resp_1"}, ASKED, "model", stored_until=None)
    lose_commit()
    await turns.end(begun.lease, _end())
    assert await _ids(conversations, conversation_id) == ["msg_asked", "msg_said"]
    stored = await turns.response("resp_1")
    assert stored
    assert (stored.is_live, stored.body["status"]) == (False, "completed")


async def test_a_turn_is_stored_although_the_next_one_has_begun(turns, conversation_id, lose_commit):
    begun = await turns.begin(conversation_id)
    await turns.end(begun.lease, _end())
    await turns.begin(conversation_id)
    await turns.end(begun.lease, _end())
