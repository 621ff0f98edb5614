"""Conversations and their items through the SDK."""

import re
import time

import pytest

from tests.embedded.support import refused, texts


def _user(text):
    return {"type": "message", "role": "user", "content": text}


async def test_an_unknown_conversation_is_404_on_every_route(client):
    unknown = "conv_" + "0" * 50
    for call in (
        client.conversations.retrieve(unknown),
        client.conversations.update(unknown, metadata={}),
        client.conversations.delete(unknown),
        client.conversations.items.list(unknown),
        client.conversations.items.create(unknown, items=[_user("x")]),
        client.conversations.items.retrieve("msg_x", conversation_id=unknown),
        client.conversations.items.delete("msg_x", conversation_id=unknown),
        client.responses.create(model="m", conversation=unknown, input="x"),
    ):
        with refused(404) as error:
            await call
        assert unknown in error["message"]
        assert error["type"] == "invalid_request_error"


async def test_a_conversation_keeps_items_and_metadata(client):
    made = await client.conversations.create(metadata={"k": "v"}, items=[_user("one")])
    assert made.model_dump() == {
        "id": made.id,
        "object": "conversation",
        "created_at": made.created_at,
        "metadata": {"k": "v"},
    }
    assert await client.conversations.retrieve(made.id) == made
    items = await client.conversations.items.list(made.id)
    assert items.data[0].model_dump(exclude_unset=True) == {
        "id": items.data[0].id,
        "type": "message",
        "status": "completed",
        "role": "user",
        "content": [{"type": "input_text", "text": "one"}],
    }


async def test_ids_hold_the_time_where_openai_puts_it(client):
    made = await client.conversations.create()
    assert re.fullmatch(r"conv_[0-9a-f]{16}00[0-9a-f]{8}[0-9a-f]{24}", made.id)
    assert abs(int(made.id[5 + 18 : 5 + 26], 16) - time.time()) < 60


async def test_metadata_is_replaced_not_merged(client):
    made = await client.conversations.create(metadata={"a": "1"})
    await client.conversations.update(made.id, metadata={"b": "2"})
    assert (await client.conversations.retrieve(made.id)).metadata == {"b": "2"}


async def test_items_page_in_both_orders(client):
    made = await client.conversations.create(items=[_user(f"m{i}") for i in range(5)])
    assert await texts(client, made.id) == ["m0", "m1", "m2", "m3", "m4"]
    first = await client.conversations.items.list(made.id, limit=2)
    assert [item.content[0].text for item in first.data] == ["m4", "m3"]
    assert (first.has_more, first.last_id) == (True, first.data[-1].id)
    rest = await client.conversations.items.list(made.id, limit=3, after=first.last_id)
    assert [item.content[0].text for item in rest.data] == ["m2", "m1", "m0"]
    assert rest.has_more is False


@pytest.mark.parametrize(
    ("query", "param"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": 101}, "limit"),
        ({"order": "up"}, "order"),
        ({"after": "msg_x"}, "after"),
    ],
)
async def test_a_bad_cursor_names_its_parameter(client, query, param):
    made = await client.conversations.create()
    with refused() as error:
        await client.conversations.items.list(made.id, **query)
    assert error["param"] == param


async def test_an_item_is_read_and_deleted_alone(client):
    made = await client.conversations.create()
    added = await client.conversations.items.create(made.id, items=[_user("one"), _user("two")])
    one = added.data[0]
    assert (await client.conversations.items.retrieve(one.id, conversation_id=made.id)).id == one.id
    await client.conversations.items.delete(one.id, conversation_id=made.id)
    with refused(404):
        await client.conversations.items.retrieve(one.id, conversation_id=made.id)
    assert await texts(client, made.id) == ["two"]


async def test_nothing_is_readable_under_a_deleted_conversation(client):
    made = await client.conversations.create(items=[_user("secret")])
    response = await client.responses.create(model="m", conversation=made.id, input="more")
    assert (await client.conversations.delete(made.id)).deleted is True
    for call in (
        client.conversations.retrieve(made.id),
        client.conversations.items.list(made.id),
        client.responses.retrieve(response.id),
    ):
        with refused(404):
            await call


async def test_imported_history_keeps_roles_and_parts(client):
    parts = [
        {"type": "input_text", "text": "look"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
    ]
    made = await client.conversations.create(
        items=[
            {"type": "message", "role": "user", "content": parts},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "seen"}]},
        ]
    )
    items = (await client.conversations.items.list(made.id, order="asc")).data
    assert [(item.role, [part.type for part in item.content]) for item in items] == [
        ("user", ["input_text", "input_image"]),
        ("assistant", ["output_text"]),
    ]


async def test_more_than_twenty_items_are_refused(client):
    with refused() as error:
        await client.conversations.create(items=[_user("x")] * 21)
    assert error["param"] == "items"
