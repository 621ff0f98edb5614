"""How much each caller may ask for, who counts together, and what nobody can talk himself out of."""

import pytest

from app.core.limits.rate_limit import BoundedMemoryStorage, bucket_of
from app.core.security.credentials import CredentialReader
from tests.security.support import GUARDED, KEY_A, KEY_B, bearer, mint
from tests.support import ASSISTANT, Json, error_of, until

MESSAGE = {"role": "user", "content": "hello"}
PUBLIC = {"host": "0.0.0.0", "allow_anonymous": True}


async def statuses(client, count, path="assistants", **sent):
    return [(await client.get(path, **sent)).status_code for _ in range(count)]


class TestAnswers:
    async def test_successes_say_what_is_left(self, start, upstream):
        async with start(url=upstream, **GUARDED, rate_limit_reads="5/minute") as service:
            first = await service.client.get("assistants", headers=bearer(KEY_A))
            second = await service.client.get("threads/thread_unknown", headers=bearer(KEY_A))
        assert first.headers["ratelimit-limit"] == "5"
        assert first.headers["ratelimit-remaining"] == "4"
        assert 0 < int(first.headers["ratelimit-reset"]) <= 60
        assert second.status_code == 404
        assert second.headers["ratelimit-remaining"] == "3"

    async def test_one_too_many_is_a_429_that_says_when(self, start, upstream):
        async with start(url=upstream, **GUARDED, rate_limit_reads="2/minute") as service:
            assert await statuses(service.client, 2, headers=bearer(KEY_A)) == [200, 200]
            response = await service.client.get("assistants", headers=bearer(KEY_A))
        error = error_of(response, 429)
        assert error["type"] == "rate_limit_error"
        assert error["code"] == "rate_limit_exceeded"
        assert response.headers["ratelimit-remaining"] == "0"
        assert response.headers["retry-after"] == response.headers["ratelimit-reset"]
        assert 0 < int(response.headers["retry-after"]) <= 60

    async def test_streams_say_it_too(self, start, upstream):
        async with start(url=upstream, is_served=True, **GUARDED, rate_limit_chat="7/minute") as service:
            body = {"message": "hello", "stream": True}
            response = await service.client.post("chat", json=body, headers=bearer(KEY_A))
        assert response.headers["ratelimit-limit"] == "7"

    @pytest.mark.parametrize("caller", ["key", "user", "session"])
    async def test_every_request_counts_once_also_one_that_is_refused(self, start, upstream, caller):
        async with start(url=upstream, **GUARDED, rate_limit_writes="50/minute") as service:
            client, headers = service.client, bearer(KEY_A)
            if caller == "session":
                headers = bearer(await mint(client, "u1"))
            elif caller == "user":
                headers = bearer(KEY_A, x_user_id="u1")
            json, text = {"content-type": "application/json"}, {"content-type": "text/plain"}
            requests: list[tuple[str, Json, dict[str, str], int]] = [
                ("threads", {"json": {}}, {}, 200),
                ("threads", {"json": {"metadata": 1}}, {}, 400),
                ("threads", {"content": b"{"}, json, 400),
                ("threads", {"content": b"{}"}, text, 400),
                ("threads", {"json": {}}, {"idempotency-key": "k" * 256}, 400),
                ("threads/thread_1", {"json": {"metadata": {}}}, {}, 404),
                ("threads/thread_1/messages", {"json": MESSAGE}, {}, 404),
                ("threads/thread_1/runs/run_1/cancel", {}, {}, 404),
                ("files", {"files": {"file": ("a.txt", b"text"), "purpose": (None, "user_data")}}, {}, 200),
            ]
            left = 50
            for path, sent, more, status in requests:
                response = await client.post(path, headers=headers | more, **sent)
                left -= 1
                assert (response.status_code, response.headers["ratelimit-remaining"]) == (status, str(left))

    async def test_the_user_that_a_body_names_is_counted(self, start, upstream):
        async with start(url=upstream, **GUARDED, rate_limit_writes="1/minute") as service:
            client = service.client
            for user, status in (("u1", 200), ("u2", 200), ("u1", 429), ("u2", 429)):
                body: Json = {"user": user, "metadata": 1 if status == 429 else {}}
                response = await client.post("threads", json=body, headers=bearer(KEY_A))
                assert response.status_code == status
            assert (await client.post("threads", headers=bearer(KEY_A))).status_code == 200

    async def test_off_is_off(self, start, upstream):
        settings = GUARDED | {"rate_limit_enabled": False, "rate_limit_reads": "1/minute"}
        async with start(url=upstream, **settings) as service:
            assert await statuses(service.client, 5, headers=bearer(KEY_A)) == [200] * 5
            assert (
                "ratelimit-limit"
                not in (await service.client.get("assistants", headers=bearer(KEY_A))).headers
            )
            assert await statuses(service.client, 40, headers=bearer("wrong")) == [401] * 40


class TestBuckets:
    @pytest.mark.parametrize(
        ("method", "path", "bucket"),
        [
            ("GET", "/api/v1/threads/t/runs/r", "reads"),
            ("HEAD", "/api/v1/files", "reads"),
            ("POST", "/api/v1/chat", "chat"),
            ("POST", "/api/v1/ag-ui", "chat"),
            ("POST", "/api/v1/threads/runs", "chat"),
            ("POST", "/api/v1/threads/t/runs", "chat"),
            ("POST", "/api/v1/threads/t/runs/r/submit_tool_outputs", "chat"),
            ("POST", "/api/v1/threads/t/runs/r/cancel", "writes"),
            ("POST", "/api/v1/threads", "writes"),
            ("DELETE", "/api/v1/threads/t", "writes"),
            ("POST", "/api/v1/sessions", "sessions"),
        ],
    )
    def test_of(self, method, path, bucket):
        assert bucket_of(method, path) == bucket

    async def test_polling_does_not_starve_chats(self, start, upstream):
        limits = {
            "rate_limit_reads": "2/minute",
            "rate_limit_chat": "1/minute",
            "rate_limit_writes": "1/minute",
        }
        async with start(url=upstream, **GUARDED, **limits) as service:
            client, headers = service.client, bearer(KEY_A)
            assert (await statuses(client, 3, headers=headers))[-1] == 429
            assert (await client.post("threads", headers=headers)).status_code == 200
            assert (await client.post("chat", json={"message": "hi"}, headers=headers)).status_code == 200
            error_of(await client.post("chat", json={"message": "hi"}, headers=headers), 429)
            error_of(await client.post("threads", headers=headers), 429)

    async def test_minting_counts_for_the_key_whoever_it_is_for(self, start, upstream):
        async with start(url=upstream, **GUARDED, rate_limit_sessions="2/minute") as service:
            for user in ("u1", "u2"):
                await mint(service.client, user)
            response = await service.client.post("sessions", json={"user": "u3"}, headers=bearer(KEY_A))
            error_of(response, 429)
            await mint(service.client, "u3", key=KEY_B)


class TestWhoCountsTogether:
    async def test_keys_and_users_do_not_eat_each_others(self, start, upstream):
        async with start(url=upstream, **GUARDED, rate_limit_reads="1/minute") as service:
            for headers in (bearer(KEY_A), bearer(KEY_B), bearer(KEY_A, x_user_id="u1")):
                assert await statuses(service.client, 2, headers=headers) == [200, 429]

    async def test_a_new_session_gives_its_user_nothing_new(self, start, upstream):
        async with start(url=upstream, **GUARDED, rate_limit_reads="2/minute") as service:
            for expected in (200, 200, 429):
                headers = bearer(await mint(service.client, "u1"))
                assert (await service.client.get("assistants", headers=headers)).status_code == expected
            other = bearer(await mint(service.client, "u2"))
            assert (await service.client.get("assistants", headers=other)).status_code == 200

    async def test_a_session_may_bring_its_own_limit(self, start, upstream):
        async with start(url=upstream, **GUARDED, rate_limit_chat="1/minute") as service:
            headers = bearer(await mint(service.client, "u1", rate_limit="2/minute"))
            found = []
            for _ in range(3):
                response = await service.client.post("chat", json={"message": "hi"}, headers=headers)
                found.append(response.status_code)
            assert found == [200, 200, 429]
            plain = bearer(await mint(service.client, "u1"))
            response = await service.client.post("chat", json={"message": "hi"}, headers=plain)
            assert response.status_code == 200

    async def test_strangers_count_by_address_and_no_header_changes_it(self, start, upstream):
        async with start(url=upstream, **PUBLIC, rate_limit_reads="3/minute") as service:
            found = []
            for number in range(4):
                spoofed = {
                    "x-forwarded-for": f"10.0.0.{number}",
                    "forwarded": f"for=10.0.0.{number}",
                    "x-real-ip": f"10.0.0.{number}",
                    "cf-connecting-ip": f"10.0.0.{number}",
                }
                found.append((await service.client.get("assistants", headers=spoofed)).status_code)
        assert found == [200, 200, 200, 429]

    async def test_trusted_proxies_tell_addresses_apart(self, start, upstream):
        settings = PUBLIC | {"trusted_proxies": ["127.0.0.1"], "rate_limit_reads": "1/minute"}
        async with start(url=upstream, **settings) as service:
            for client_address in ("203.0.113.1", "203.0.113.2"):
                sent = {"x-forwarded-for": f"198.51.100.7, {client_address}"}
                assert await statuses(service.client, 2, headers=sent) == [200, 429]

    async def test_this_machine_is_not_limited_without_auth(self, start, upstream):
        async with start(url=upstream, rate_limit_reads="1/minute") as service:
            assert await statuses(service.client, 3) == [200] * 3
            behind_proxy = {"x-forwarded-for": "203.0.113.1"}
            assert await statuses(service.client, 2, headers=behind_proxy) == [200, 429]


class TestAddresses:
    @pytest.mark.parametrize(
        ("peer", "forwarded", "proxies", "address"),
        [
            ("203.0.113.9", "1.2.3.4", [], "203.0.113.9"),
            ("203.0.113.9", "1.2.3.4", ["10.0.0.0/8"], "203.0.113.9"),
            ("10.0.0.1", "1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
            ("10.0.0.1", "6.6.6.6, 1.2.3.4, 10.0.0.2", ["10.0.0.0/8"], "1.2.3.4"),
            ("10.0.0.1", "10.0.0.3, 10.0.0.2", ["10.0.0.0/8"], "10.0.0.3"),
            ("10.0.0.1", "", ["10.0.0.0/8"], "10.0.0.1"),
            ("10.0.0.1", "unknown", ["10.0.0.0/8"], "10.0.0.1"),
            ("10.0.0.1", "1.2.3.4:5678", ["10.0.0.0/8"], "1.2.3.4"),
            ("::ffff:10.0.0.1", "1.2.3.4", ["10.0.0.0/8"], "1.2.3.4"),
            ("10.0.0.1", "[2001:db8::1]:443", ["10.0.0.0/8"], "2001:db8::/64"),
            ("2001:db8::1:2:3:4", "", [], "2001:db8::/64"),
            ("::1", "", [], "::1"),
            (None, "1.2.3.4", [], "local"),
        ],
    )
    def test_of_the_client(self, peer, forwarded, proxies, address):
        headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
        assert CredentialReader(proxies).read(headers, peer).address == address

    def test_repeated_headers_are_one_list(self):
        headers = [(b"x-forwarded-for", b"1.2.3.4"), (b"x-forwarded-for", b"10.0.0.2")]
        assert CredentialReader(["10.0.0.0/8"]).read(headers, "10.0.0.1").address == "1.2.3.4"


class TestRefusedCredentials:
    async def test_guessing_ends_and_valid_credentials_go_on(self, start, upstream):
        async with start(url=upstream, **GUARDED, rate_limit_auth_failures="3/minute") as service:
            client = service.client
            assert await statuses(client, 4, headers=bearer("wrong")) == [401, 401, 401, 429]
            refused = await client.get("assistants", headers=bearer("another"))
            error_of(refused, 429)
            assert int(refused.headers["retry-after"]) > 0
            # Behind the same proxy: a key that was never used before, and a session made just now.
            assert (await client.get("assistants", headers=bearer(KEY_B))).status_code == 200
            session = (await client.post("sessions", json={"user": "u1"}, headers=bearer(KEY_A))).json()
            assert (
                await client.get("assistants", headers=bearer(session["client_secret"]))
            ).status_code == 200

    @pytest.mark.parametrize("name", ["authorization", "x-api-key", "x-user-id", "origin", "host"])
    async def test_a_credential_comes_once(self, start, upstream, name):
        async with start(url=upstream, **GUARDED) as service:
            sent = [("authorization", f"Bearer {KEY_A}"), (name, "a"), (name, "b")]
            refused = await service.client.get("assistants", headers=sent)
            error = error_of(refused, 400)
            assert (error["code"], error["param"]) == ("repeated_header", name)


class TestStreamCaps:
    async def test_one_user_holds_only_so_many(self, start):
        knobs = {"first_token_ms": 20_000}
        settings = GUARDED | {"max_streams_per_owner": 1, "on_disconnect_runs": "cancel"}
        async with start(is_served=True, knobs=knobs, **settings) as service:
            client, headers = service.client, bearer(KEY_A, x_user_id="u1")
            body = {"assistant_id": ASSISTANT, "stream": True, "thread": {"messages": [MESSAGE]}}
            async with client.stream("POST", "threads/runs", json=body, headers=headers) as first:
                assert first.status_code == 200
                refused = await client.post("threads/runs", json=body, headers=headers)
                assert error_of(refused, 429)["code"] == "too_many_streams"
                assert refused.headers["retry-after"]
                for others in (bearer(KEY_A, x_user_id="u2"), bearer(KEY_A)):
                    async with client.stream("POST", "threads/runs", json=body, headers=others) as other:
                        assert other.status_code == 200

            async def is_free():
                async with client.stream("POST", "threads/runs", json=body, headers=headers) as again:
                    return again.status_code == 200

            await until(is_free)


class TestCounters:
    def test_are_bounded(self, monkeypatch):
        monkeypatch.setattr("app.core.limits.rate_limit.MAX_COUNTERS", 2)
        storage = BoundedMemoryStorage()
        for key in ("a", "b", "c"):
            assert storage.incr(key, 60) == 1
        assert [storage.get(key) for key in ("a", "b", "c")] == [0, 1, 1]
        assert storage.check()
        storage.clear("b")
        assert storage.reset() == 1

    def test_windows_end(self, monkeypatch):
        now = [1_000.0]
        monkeypatch.setattr("app.core.limits.rate_limit.time.time", lambda: now[0])
        storage = BoundedMemoryStorage()
        assert [storage.incr("a", 60), storage.incr("a", 60)] == [1, 2]
        assert storage.get_expiry("a") == 1_060
        now[0] = 1_060
        assert storage.get("a") == 0
        assert storage.incr("a", 60) == 1
