"""The chat app in frames: tickets that let a page frame it, and the header that names that page."""

import base64
import hashlib
import hmac
import json
import time
from typing import Any

import httpx2
import jwt
import pytest

from app.core.security.frame_tickets import MAX_TICKET_CHARS, FrameTickets
from tests.security.support import (
    GUARDED,
    KEY_A,
    OLD_SECRET,
    PAGE,
    SECRET,
    bearer,
    made_session,
    mint,
)
from tests.support import ASSISTANT, TLS, error_of

in_module = pytest.mark.asyncio(loop_scope="module")
EMBED = "http://localhost/embed"
OURS = "http://localhost"
OTHER = "https://other.example"


def ticket_in(token: str) -> Any:
    """The ticket as the launcher finds it: in the middle part of the token."""
    middle = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))["frame"]


async def framers(client, ticket: str | None) -> list[str]:
    """The sources that may frame the app, opened with a ticket."""
    response = await client.get(EMBED, params={"ticket": ticket} if ticket is not None else {})
    assert response.status_code == 200
    assert "x-frame-options" not in response.headers
    _, _, found = response.headers["content-security-policy"].partition("frame-ancestors ")
    return str(found).split(" ")


def made_ticket(secret: str = SECRET, seconds: float = 60, origins: tuple[str, ...] = (PAGE,)) -> str:
    return str(FrameTickets([secret.encode()]).mint(origins, int(time.time() + seconds)))


class TestTickets:
    @in_module
    async def test_let_the_sessions_pages_frame_the_app(self, guarded):
        token = await mint(guarded.client, origins=[PAGE, OTHER, "https://münchen.example:8443"])
        found = await framers(guarded.client, ticket_in(token))
        assert found == ["'self'", PAGE, OTHER, "https://xn--mnchen-3ya.example:8443"]
        assert await framers(guarded.client, None) == ["'self'"]

    async def test_add_to_the_origins_that_may_call(self, start, upstream):
        async with start(url=upstream, **GUARDED, cors_origins=[OTHER, PAGE]) as service:
            token = await mint(service.client, origins=[PAGE, "https://third.example"])
            listed = ["'self'", OTHER, PAGE]
            assert await framers(service.client, None) == listed
            assert await framers(service.client, ticket_in(token)) == [*listed, "https://third.example"]
            assert await framers(service.client, "forged") == listed

    @in_module
    @pytest.mark.parametrize(
        "ticket",
        [
            "",
            "a.b.c",
            "é",
            made_ticket(seconds=-1),
            made_ticket(secret=OLD_SECRET),
            made_ticket(seconds=3_600)[:-2],
            made_ticket(seconds=3_600) + "A" * MAX_TICKET_CHARS,
            jwt.encode({"origins": [PAGE], "exp": 4e9}, SECRET, "HS256", headers={"typ": "soloist-frame"}),
            jwt.encode({"origins": [PAGE], "exp": 4e9}, "", "none", headers={"typ": "soloist-frame"}),
            made_session(seconds=3_600, origins=(PAGE,)),
            made_session(seconds=3_600, origins=(PAGE,)).removeprefix("ss_"),
        ],
    )
    async def test_that_are_none_change_nothing(self, guarded, ticket):
        assert await framers(guarded.client, ticket) == ["'self'"]

    @in_module
    async def test_open_nothing_else(self, guarded):
        ticket = ticket_in(await mint(guarded.client, origins=[PAGE]))
        for token in (ticket, f"ss_{ticket}"):
            headers = bearer(token, origin=PAGE)
            error_of(await guarded.client.get("assistants", headers=headers), 401)

    async def test_of_an_old_secret_hold_while_it_verifies(self, start, upstream):
        async with start(url=upstream, **(GUARDED | {"secret_keys": [SECRET, OLD_SECRET]})) as service:
            assert await framers(service.client, made_ticket(OLD_SECRET)) == ["'self'", PAGE]

    async def test_mean_nothing_where_nobody_signs_in(self, client):
        assert await framers(client, made_ticket()) == ["'self'"]

    @in_module
    async def test_are_left_out_where_there_is_none_to_name_and_where_an_address_has_no_room(self, guarded):
        assert ticket_in(await mint(guarded.client)) is None
        many = [f"https://{'x' * 60}.{number}.{'y' * 60}.example" for number in range(20)]
        token = await mint(guarded.client, origins=many)
        assert ticket_in(token) is None
        headers = bearer(token, origin=many[7])
        assert (await guarded.client.get("assistants", headers=headers)).status_code == 200

    @in_module
    async def test_sessions_from_before_them_hold(self, guarded):
        claims = jwt.decode(
            made_session(origins=(PAGE,)).removeprefix("ss_"), options={"verify_signature": False}
        )
        del claims["frame"]
        signed = jwt.encode(claims, session_key(), algorithm="HS256", headers={"typ": "soloist-session"})
        headers = bearer(f"ss_{signed}", origin=PAGE)
        assert (await guarded.client.get("assistants", headers=headers)).status_code == 200

    @in_module
    @pytest.mark.parametrize(
        "origin", ["https://page.example;script-src", "https://a'b.example", "https://*"]
    )
    async def test_hold_nothing_that_could_end_a_directive(self, guarded, origin):
        body = {"user": "u1", "origins": [origin]}
        response = await guarded.client.post("sessions", json=body, headers=bearer(KEY_A))
        assert error_of(response, 400)["param"] == "origins[0]"


def session_key() -> bytes:
    return hmac.digest(SECRET.encode(), b"soloist session v1", hashlib.sha256)


class TestTheHeader:
    """`x-embed-origin` counts where the browser says that our own page sends it."""

    @in_module
    @pytest.mark.parametrize(
        ("headers", "status"),
        [
            # What a browser sends for the app's own reads and writes, over https and over plain http.
            ({"sec-fetch-site": "same-origin"}, 200),
            ({"sec-fetch-site": "same-origin", "origin": OURS}, 200),
            ({}, 200),
            ({"origin": OURS}, 200),
            ({"origin": "https://localhost"}, 200),
            # What another page could send, had it been allowed to.
            ({"sec-fetch-site": "cross-site"}, 403),
            ({"sec-fetch-site": "same-site", "origin": OURS}, 403),
            ({"sec-fetch-site": "none"}, 403),
            ({"sec-fetch-site": "cross-site", "origin": OURS}, 403),
            ({"origin": OTHER}, 403),
            ({"origin": "null"}, 403),
            ({"origin": "http://localhost:8010"}, 403),
        ],
    )
    async def test_counts_for_our_own_page_alone(self, guarded, headers, status):
        token = await mint(guarded.client, origins=[PAGE])
        sent = bearer(token, x_embed_origin=PAGE) | headers
        response = await guarded.client.get("assistants", headers=sent)
        assert response.status_code == status, response.text
        if status == 403:
            assert error_of(response, 403)["code"] == "origin_not_allowed"

    @in_module
    @pytest.mark.parametrize("embedder", [None, OTHER, "null", "", OURS, f"{PAGE}, {OTHER}", f"{PAGE}/"])
    async def test_names_a_page_of_the_session(self, guarded, embedder):
        token = await mint(guarded.client, origins=[PAGE])
        headers = bearer(token, origin=OURS, sec_fetch_site="same-origin")
        headers |= {"x-embed-origin": embedder} if embedder is not None else {}
        for response in (
            await guarded.client.get("assistants", headers=headers),
            await guarded.client.post("threads", headers=headers),
        ):
            assert error_of(response, 403)["code"] == "origin_not_allowed"

    @in_module
    async def test_does_not_take_the_place_of_another_pages_origin(self, guarded):
        """A page that the session is for is let in by its `Origin`, whatever it says of a frame."""
        token = await mint(guarded.client, origins=[PAGE])
        headers = bearer(token, origin=PAGE, sec_fetch_site="cross-site", x_embed_origin=OTHER)
        assert (await guarded.client.get("assistants", headers=headers)).status_code == 200

    @in_module
    async def test_binds_no_session_without_origins(self, guarded):
        token = await mint(guarded.client)
        headers = bearer(token, sec_fetch_site="same-origin", x_embed_origin=OTHER)
        assert (await guarded.client.get("assistants", headers=headers)).status_code == 200

    @in_module
    async def test_comes_once(self, guarded):
        headers = [
            ("authorization", f"Bearer {KEY_A}"),
            ("x-embed-origin", PAGE),
            ("x-embed-origin", PAGE),
        ]
        error = error_of(await guarded.client.get("assistants", headers=headers), 400)
        assert (error["param"], error["code"]) == ("x-embed-origin", "repeated_header")

    @pytest.mark.parametrize("origin", [PAGE, OTHER])
    async def test_is_none_that_other_pages_may_send(self, start, upstream, origin):
        async with start(url=upstream, **GUARDED, cors_origins=[PAGE]) as service:
            asked = {
                "origin": origin,
                "access-control-request-method": "POST",
                "access-control-request-headers": "authorization, x-embed-origin",
            }
            response = await service.client.options("chat", headers=asked)
        assert error_of(response, 403)["code"] == "cors_refused"
        assert "x-embed-origin" not in response.headers["access-control-allow-headers"]

    @pytest.mark.parametrize(("origin", "status"), [("https://x.example", 200), ("http://x.example", 403)])
    async def test_counts_where_a_proxy_changes_the_host(self, start, upstream, origin, status):
        public = {"public_url": "https://x.example/a"}
        async with start(url=upstream, **GUARDED, **public) as service:
            token = await mint(service.client, origins=[PAGE])
            headers = bearer(token, origin=origin, x_embed_origin=PAGE)
            found = await service.client.get("assistants", headers=headers)
        assert found.status_code == status


class TestWithoutSignIn:
    """The page round the frame must be one that may call, as if it called itself."""

    @pytest.mark.parametrize(
        ("embedder", "status"),
        [(PAGE, 200), ("http://localhost:3000", 200), (OTHER, 403), ("null", 403), ("", 403)],
    )
    async def test_the_page_round_the_frame_counts(self, start, upstream, embedder, status):
        async with start(url=upstream, cors_origins=[PAGE]) as service:
            headers = {"sec-fetch-site": "same-origin", "x-embed-origin": embedder}
            read = await service.client.get("assistants", headers=headers)
            made = await service.client.post("threads", headers=headers | {"origin": OURS})
        assert (read.status_code, made.status_code) == (status, status)

    async def test_a_name_that_points_here_does_not_become_another_page(self, start, upstream):
        async with start(url=upstream, allow_anonymous=True) as service:
            rebound = {"host": "rebound.example", "origin": "http://rebound.example"}
            said = {"sec-fetch-site": "same-origin", "x-embed-origin": "http://localhost"}
            response = await service.client.post("threads", headers=rebound | said)
        assert error_of(response, 403)["code"] == "origin_not_allowed"


class TestWhatThePageShows:
    """What a browser's caller may read of the assistant; see docs/embedding.md."""

    @pytest.mark.parametrize("is_exposed", [False, True])
    async def test_instructions_and_knowledge_as_the_operator_wants(self, start, upstream, is_exposed):
        made = await new_store(upstream)
        exposed = {"expose_instructions": is_exposed, "expose_knowledge": is_exposed}
        told = {"assistant_instructions": "Be kind.", "assistant_vector_stores": [made]}
        async with start(url=upstream, **GUARDED, **exposed, **told) as service:
            client, headers = service.client, bearer(await mint(service.client))
            assistant = (await client.get(f"assistants/{ASSISTANT}", headers=headers)).json()
            (store,) = assistant["tool_resources"]["file_search"]["vector_store_ids"]
            listed = await client.get(f"vector_stores/{store}/files", headers=headers)
            assert assistant["instructions"] == ("Be kind." if is_exposed else None)
            assert listed.status_code == (200 if is_exposed else 403)
            if is_exposed:
                (file,) = listed.json()["data"]
                named = await client.get(f"files/{file['id']}", headers=headers)
                assert named.json()["filename"] == "opening hours.txt"


async def new_store(upstream: str) -> str:
    """A store of the upstream with one file; its id."""
    form: Any = {"file": ("opening hours.txt", b"Nine to five."), "purpose": (None, "assistants")}
    async with httpx2.AsyncClient(base_url=f"{upstream}/", verify=TLS) as direct:
        file = (await direct.post("files", files=form)).json()
        store = (await direct.post("vector_stores", json={"file_ids": [file["id"]]})).json()
    return str(store["id"])
