"""Who gets in, as whom, and who does not."""

import hashlib
import time

import pytest

from tests.security.support import (
    KEY_A,
    KEY_B,
    OLD_SECRET,
    PAGE,
    bearer,
    made_session,
    mint,
    new_thread_of,
    unsigned_session,
)
from tests.support import ASSISTANT, error_of, until

LATER = 3_600
"""Seconds that a token made when tests are collected still has when its test runs."""

pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestApiKeys:
    @pytest.mark.parametrize(
        "headers",
        [{"authorization": f"Bearer {KEY_A}"}, {"authorization": f"bearer  {KEY_A} "}, {"x-api-key": KEY_A}],
    )
    async def test_gets_in(self, guarded, headers):
        response = await guarded.client.get("assistants", headers=headers)
        assert response.status_code == 200
        assert response.json()["data"][0]["id"] == ASSISTANT

    @pytest.mark.parametrize(
        "headers",
        [
            {},
            {"authorization": "Bearer"},
            {"authorization": "Bearer wrong"},
            {"authorization": f"Basic {KEY_A}"},
            {"authorization": KEY_A},
            {"x-api-key": KEY_A[:-1]},
            {"x-api-key": KEY_A + "0"},
            {"x-api-key": "sha256:" + hashlib.sha256(KEY_A.encode()).hexdigest()},
            {"authorization": f"Bearer {'x' * 9_000}"},
            {"authorization": b"Bearer \xff\xfe"},
        ],
    )
    async def test_stays_out(self, guarded, headers):
        response = await guarded.client.get("assistants", headers=headers)
        error = error_of(response, 401)
        assert error["type"] == "authentication_error"
        assert response.headers["www-authenticate"] == "Bearer"

    async def test_strangers_learn_nothing_about_their_bodies(self, guarded):
        async def body():
            yield b"{"

        headers = {"content-type": "application/json"}
        error_of(await guarded.client.post("chat", content=body(), headers=headers), 401)
        error_of(await guarded.client.post("chat", content=b"{", headers=headers), 401)

    async def test_unknown_routes_say_nothing_to_strangers(self, guarded):
        assert (await guarded.client.get("nothing-here")).status_code == 401
        error_of(await guarded.client.get("nothing-here", headers=bearer(KEY_A)), 404)

    @pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/api/v1/health", "/api/v1/ready"])
    async def test_public_paths_need_none(self, guarded, path):
        assert (await guarded.client.get(f"http://localhost{path}")).status_code == 200


class TestUsers:
    async def test_header_and_body_name_the_same_owner(self, guarded):
        made = await guarded.client.post("threads", json={"user": "Zoë"}, headers=bearer(KEY_A))
        assert "x-ignored-params" not in made.headers
        thread = made.json()
        by_header = bearer(KEY_A) | {"x-user-id": "Zoë".encode()}
        assert (await guarded.client.get(f"threads/{thread['id']}", headers=by_header)).json() == thread

    async def test_the_key_itself_and_its_users_are_strangers_to_each_other(self, guarded):
        thread = await new_thread_of(guarded, bearer(KEY_A, x_user_id="u1"))
        for headers in (bearer(KEY_A), bearer(KEY_A, x_user_id="u2"), bearer(KEY_B, x_user_id="u1")):
            error_of(await guarded.client.get(f"threads/{thread}", headers=headers), 404)

    async def test_two_different_names_are_refused(self, guarded):
        response = await guarded.client.post(
            "threads", json={"user": "u1"}, headers=bearer(KEY_A, x_user_id="u2")
        )
        assert error_of(response, 400)["param"] == "user"

    @pytest.mark.parametrize(
        "kind", ["Application/JSON", "application/json ;charset=utf-8", "application/x+json"]
    )
    async def test_the_user_of_a_body_counts_however_its_type_is_written(self, guarded, kind):
        headers = {**bearer(KEY_A), "content-type": kind}
        made = await guarded.client.post("threads", content=b'{"user": "u1"}', headers=headers)
        path = f"threads/{made.json()['id']}"
        assert (await guarded.client.get(path, headers=bearer(KEY_A, x_user_id="u1"))).status_code == 200
        assert (await guarded.client.get(path, headers=bearer(KEY_A))).status_code == 404

    @pytest.mark.parametrize("user", ["", "x" * 257, "a\nb", 7, ["u1"], "\u0000"])
    async def test_names_that_are_no_text_are_refused(self, guarded, user):
        response = await guarded.client.post("threads", json={"user": user}, headers=bearer(KEY_A))
        assert error_of(response, 400)["param"] == "user"

    @pytest.mark.parametrize("user", [b"\xff", b"x" * 257])
    async def test_headers_that_are_no_text_are_refused(self, guarded, user):
        response = await guarded.client.get("assistants", headers=bearer(KEY_A) | {"x-user-id": user})
        assert error_of(response, 400)["param"] == "x-user-id"

    async def test_browsers_cannot_name_one(self, guarded):
        token = await mint(guarded.client, "u1")
        thread = await new_thread_of(guarded, bearer(KEY_A, x_user_id="u2"))
        sent = bearer(token, x_user_id="u2")
        error_of(await guarded.client.get(f"threads/{thread}", headers=sent), 404)
        made = await guarded.client.post("threads", json={"user": "u2"}, headers=sent)
        assert made.headers["x-ignored-params"] == "x-user-id, user"
        by_key = bearer(KEY_A, x_user_id="u2")
        error_of(await guarded.client.get(f"threads/{made.json()['id']}", headers=by_key), 404)


class TestSessions:
    async def test_opens_what_the_user_owns(self, guarded):
        thread = await new_thread_of(guarded, bearer(KEY_A, x_user_id="u1"))
        token = await mint(guarded.client, "u1")
        assert (await guarded.client.get(f"threads/{thread}", headers=bearer(token))).status_code == 200
        stranger = await mint(guarded.client, "u2")
        error_of(await guarded.client.get(f"threads/{thread}", headers=bearer(stranger)), 404)

    async def test_answer_is_secret_and_end(self, guarded):
        before = int(time.time())
        response = await guarded.client.post(
            "sessions", json={"user": "u1", "ttl_seconds": 60}, headers=bearer(KEY_A)
        )
        body = response.json()
        assert set(body) == {"client_secret", "expires_at"}
        assert body["client_secret"].startswith("ss_")
        assert before + 60 <= body["expires_at"] <= time.time() + 60

    @pytest.mark.parametrize(
        ("body", "param"),
        [
            ({}, "user"),
            ({"user": ""}, "user"),
            ({"user": "u1", "ttl_seconds": 9}, "ttl_seconds"),
            ({"user": "u1", "ttl_seconds": 3_601}, "ttl_seconds"),
            ({"user": "u1", "origins": []}, "origins"),
            ({"user": "u1", "origins": ["https://page.example/path"]}, "origins[0]"),
            ({"user": "u1", "origins": ["*"]}, "origins[0]"),
            ({"user": "u1", "rate_limit": "many"}, "rate_limit"),
            ({"user": "u1", "origin": "https://page.example"}, "origin"),
        ],
    )
    async def test_bad_input_names_the_field(self, guarded, body, param):
        response = await guarded.client.post("sessions", json=body, headers=bearer(KEY_A))
        assert error_of(response, 400)["param"] == param

    async def test_cannot_mint_another(self, guarded):
        token = await mint(guarded.client)
        response = await guarded.client.post("sessions", json={"user": "u1"}, headers=bearer(token))
        error_of(response, 403)

    async def test_cannot_list_files_nor_override_the_assistant(self, guarded):
        headers = bearer(await mint(guarded.client))
        error_of(await guarded.client.get("files", headers=headers), 403)
        body = {"assistant_id": ASSISTANT, "model": "dear", "thread": {"messages": []}}
        refused = await guarded.client.post("threads/runs", json=body, headers=headers)
        assert error_of(refused, 403)["param"] == "model"

    @pytest.mark.parametrize("origin", ["https://evil.example", "null", "https://page.example.evil", None])
    async def test_other_pages_are_refused(self, guarded, origin):
        token = await mint(guarded.client, origins=[PAGE])
        headers = bearer(token) | ({"origin": origin} if origin else {})
        error = error_of(await guarded.client.get("assistants", headers=headers), 403)
        assert error["code"] == "origin_not_allowed"

    async def test_its_own_page_is_served(self, guarded):
        token = await mint(guarded.client, origins=["https://other.example", PAGE])
        assert (await guarded.client.get("assistants", headers=bearer(token, origin=PAGE))).status_code == 200

    async def test_ends(self, guarded):
        headers = bearer(made_session(seconds=-1))
        assert (
            error_of(await guarded.client.get("assistants", headers=headers), 401)["code"]
            == "session_expired"
        )

    async def test_ends_while_it_is_remembered(self, guarded):
        headers = bearer(made_session(seconds=2))
        assert (await guarded.client.get("assistants", headers=headers)).status_code == 200

        async def is_over():
            return (await guarded.client.get("assistants", headers=headers)).status_code == 401

        await until(is_over)

    @pytest.mark.parametrize(
        "token",
        [
            made_session(secret=OLD_SECRET, seconds=LATER),
            unsigned_session(),
            "ss_",
            "ss_a.b.c",
            made_session(seconds=LATER)[:-1],
            made_session(key_name="gone", seconds=LATER),
        ],
    )
    async def test_forged_ones_are_refused(self, guarded, token):
        error = error_of(await guarded.client.get("assistants", headers=bearer(token)), 401)
        assert error["code"] == "invalid_session"

    async def test_bound_to_a_thread_opens_no_other(self, guarded):
        own = bearer(KEY_A, x_user_id="u1")
        bound, other = await new_thread_of(guarded, own), await new_thread_of(guarded, own)
        headers = bearer(await mint(guarded.client, thread_id=bound))
        assert (await guarded.client.get(f"threads/{bound}", headers=headers)).status_code == 200
        error_of(await guarded.client.get(f"threads/{other}", headers=headers), 404)
        for path, body in (
            ("threads", {}),
            ("threads/runs", {"assistant_id": ASSISTANT}),
            ("chat", {"message": "hi"}),
        ):
            refused = await guarded.client.post(path, json=body, headers=headers)
            assert error_of(refused, 403)["code"] == "session_bound_to_thread"

    async def test_is_not_bound_to_somebody_elses_thread(self, guarded):
        foreign = await new_thread_of(guarded, bearer(KEY_A, x_user_id="u2"))
        body = {"user": "u1", "thread_id": foreign}
        response = await guarded.client.post("sessions", json=body, headers=bearer(KEY_A))
        assert error_of(response, 404)["param"] == "thread_id"
