"""Who callers are: keys and secrets that change, callers without a credential, starts that are refused."""

import hashlib

import pytest
from pydantic import ValidationError

from app.core.config import Settings
from app.core.setting_errors import lines_of
from tests.fake_upstream import fake_upstream
from tests.security.support import GUARDED, KEY_A, KEY_B, OLD_SECRET, SECRET, bearer, mint, new_thread_of
from tests.support import ASSISTANT, error_of, make_settings, new_thread


class TestOwners:
    async def test_of_a_digest_and_of_several_keys_at_once_are_one_owner(self, start, upstream):
        digest = "sha256:" + hashlib.sha256(KEY_B.encode()).hexdigest().upper()
        settings = GUARDED | {"api_keys": {"a": [KEY_A, digest]}}
        async with start(url=upstream, **settings) as service:
            thread = (await service.client.post("threads", headers=bearer(KEY_A))).json()
            found = await service.client.get(f"threads/{thread['id']}", headers=bearer(KEY_B))
        assert found.json() == thread

    async def test_upstream_learns_a_hash_and_no_name(self, start):
        async with fake_upstream(new_thread_and_no_run) as fake, start(url=fake.url, **GUARDED) as service:
            for user in ("somebody@example.com", "somebody@example.com", "another"):
                headers = bearer(KEY_A, x_user_id=user)
                await service.client.post("chat", json={"message": "hi"}, headers=headers)
            sent = [request for request in fake.requests if request.path.endswith("/responses")]
        first, again, another = [request.json["safety_identifier"] for request in sent]
        assert first == again != another
        assert len(first) == 64
        assert not [request for request in fake.requests if b"somebody" in request.body]


class TestRotation:
    async def test_old_ids_and_sessions_hold_while_the_old_secret_verifies(self, start, upstream):
        async with start(url=upstream, **(GUARDED | {"secret_keys": [OLD_SECRET]})) as before:
            thread = await new_thread_of(before, bearer(KEY_A, x_user_id="u1"))
            token = await mint(before.client)
        async with start(url=upstream, **(GUARDED | {"secret_keys": [SECRET, OLD_SECRET]})) as during:
            assert (await during.client.get(f"threads/{thread}", headers=bearer(token))).status_code == 200
        async with start(url=upstream, **GUARDED) as after:
            error_of(await after.client.get(f"threads/{thread}", headers=bearer(token)), 401)
            own = bearer(KEY_A, x_user_id="u1")
            error_of(await after.client.get(f"threads/{thread}", headers=own), 404)


class TestAnonymous:
    async def test_credentials_are_not_asked_for(self, client):
        assert (await client.get("assistants", headers=bearer("anything"))).status_code == 200

    async def test_mints_no_sessions(self, client):
        error_of(await client.post("sessions", json={"user": "u1"}), 403)

    @pytest.mark.parametrize(
        "origin", ["https://evil.example", "null", "http://soloist.test", "http://[", "http://[::1"]
    )
    async def test_pages_of_strangers_are_refused(self, client, origin):
        """A name that points at this machine does not make its pages ours."""
        response = await client.get("assistants", headers={"origin": origin})
        assert error_of(response, 403)["code"] == "origin_not_allowed"

    @pytest.mark.parametrize("path", ["/", "/metrics", "/docs", "/api/v1/assistants", "/api/v1/files"])
    async def test_names_that_only_point_at_this_machine_are_not_served(self, client, path):
        refused = await client.get(f"http://localhost{path}", headers={"host": "rebound.example:8010"})
        assert error_of(refused, 400)["code"] == "unknown_host"

    @pytest.mark.parametrize("host", ["localhost:8010", "127.0.0.1", "127.0.0.7:80", "[::1]:8010"])
    async def test_names_of_this_machine_are_served(self, client, host):
        assert (await client.get("assistants", headers={"host": host})).status_code == 200

    @pytest.mark.parametrize("origin", ["http://localhost:5173", "http://127.0.0.1", "http://[::1]:8010"])
    async def test_pages_of_this_machine_are_served(self, client, origin):
        assert (await client.get("assistants", headers={"origin": origin})).status_code == 200

    async def test_strangers_on_the_network_are_not_trusted(self, start, upstream):
        public = {"host": "0.0.0.0", "allow_anonymous": True}
        async with start(url=upstream, **public) as service:
            same = {"origin": "http://soloist.test", "host": "soloist.test"}
            assert (await service.client.get("assistants", headers=same)).status_code == 200
            body = {"assistant_id": ASSISTANT, "instructions": "Obey."}
            thread = await new_thread(service.client)
            error_of(await service.client.post(f"threads/{thread}/runs", json=body), 403)


class TestStart:
    @pytest.mark.parametrize(
        ("settings", "word"),
        [
            ({"auth_mode": "none", "host": "0.0.0.0"}, "AUTH_MODE"),
            (GUARDED | {"secret_keys": []}, "SECRET_KEYS"),
            (GUARDED | {"secret_keys": ["short"]}, "SECRET_KEYS"),
            (GUARDED | {"api_keys": {}}, "API_KEYS"),
            (GUARDED | {"api_keys": {"a": ""}}, "API_KEYS"),
            (GUARDED | {"api_keys": {"a": "  "}}, "API_KEYS"),
            (GUARDED | {"api_keys": {"a": []}}, "API_KEYS"),
            (GUARDED | {"api_keys": {"a": "sha256:12"}}, "API_KEYS"),
            (GUARDED | {"api_keys": {"a": "ss_0123"}}, "API_KEYS"),
            (GUARDED | {"api_keys": {"a/b": KEY_A}}, "API_KEYS"),
            (GUARDED | {"session_ttl_seconds": 7_200}, "SESSION_TTL_SECONDS"),
            (GUARDED | {"auth_mode": "jwt"}, "JWT_JWKS_URL"),
            (GUARDED | {"auth_mode": "jwt", "jwt_secret": SECRET}, "JWT_ISSUER"),
            ({"trusted_proxies": ["proxy"]}, "TRUSTED_PROXIES"),
            ({"trusted_hosts": ["https://example.com"]}, "TRUSTED_HOSTS"),
            ({"cors_origins": ["*"]}, "CORS_ORIGINS"),
            ({"cors_origins": ["https://example.com/path"]}, "CORS_ORIGINS"),
            ({"rate_limit_chat": "lots"}, "RATE_LIMIT_CHAT"),
            ({"rate_limit_storage": "memcached://x"}, "RATE_LIMIT_STORAGE"),
        ],
    )
    def test_stops_over_what_cannot_work(self, settings, word):
        with pytest.raises(ValidationError) as caught:
            make_settings(**settings)
        lines = lines_of(caught.value, Settings)
        assert word in "\n".join(lines)
        assert KEY_A not in str(lines) + str(caught.value)

    def test_secrets_do_not_show(self):
        settings = make_settings(
            **GUARDED, openai_api_key="sk-secret-canary", rate_limit_storage="redis://:canary@127.0.0.1"
        )
        shown = repr(settings) + str(settings.model_dump())
        assert not [text for text in (KEY_A, SECRET, "canary") if text in shown]


async def new_thread_and_no_run(request, connection):
    if request.path.endswith("/conversations"):
        await connection.answer(
            200, {"id": "conv_1", "object": "conversation", "created_at": 1, "metadata": {}}
        )
    else:
        await connection.answer(400, {"error": {"message": "no", "code": "invalid_prompt"}})
