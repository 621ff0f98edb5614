"""Tokens of an identity provider: what is believed of them, and how its keys are found."""

import base64
import hmac
import json
import time
from contextlib import asynccontextmanager

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.fake_upstream import always, fake_upstream
from tests.security.support import GUARDED, KEY_A, SECRET, bearer
from tests.support import ASSISTANT, error_of

ISSUER, AUDIENCE = "https://id.example", "soloist"
SHARED = GUARDED | {
    "auth_mode": "jwt",
    "jwt_secret": SECRET,
    "jwt_issuer": ISSUER,
    "jwt_audience": AUDIENCE,
    "rate_limit_enabled": False,
}
ONE, TWO = (rsa.generate_private_key(public_exponent=65_537, key_size=2_048) for _ in range(2))


def token(key=SECRET, algorithm="HS256", kid=None, **changes):
    claims = {"sub": "u1", "iss": ISSUER, "aud": AUDIENCE, "exp": int(time.time()) + 60} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm, headers={"kid": kid} if kid else None)


def key_set(**keys):
    listed = [
        jwt.algorithms.RSAAlgorithm.to_jwk(key.public_key(), as_dict=True) | {"kid": kid, "alg": "RS256"}
        for kid, key in keys.items()
    ]
    return {"keys": listed}


@asynccontextmanager
async def provider(start, upstream, handler):
    async with fake_upstream(handler) as fake:
        url = fake.url + "/jwks"
        async with start(url=upstream, **(SHARED | {"jwt_secret": None, "jwt_jwks_url": url})) as service:
            yield service.client, fake


async def status(client, sent):
    return (await client.get("assistants", headers=bearer(sent))).status_code


class TestClaims:
    async def test_good_ones_get_in_and_own_what_they_make(self, start, upstream):
        async with start(url=upstream, **SHARED) as service:
            thread = (await service.client.post("threads", headers=bearer(token()))).json()["id"]
            again = await service.client.get(f"threads/{thread}", headers=bearer(token()))
            other = await service.client.get(f"threads/{thread}", headers=bearer(token(sub="u2")))
        assert again.status_code == 200
        error_of(other, 404)

    @pytest.mark.parametrize(
        ("changes", "code"),
        [
            ({"exp": int(time.time()) - 60}, "token_expired"),
            ({"exp": None}, "invalid_token"),
            ({"iss": "https://other.example"}, "invalid_token"),
            ({"iss": None}, "invalid_token"),
            ({"aud": "other"}, "invalid_token"),
            ({"aud": None}, "invalid_token"),
            ({"sub": None}, "invalid_token"),
            ({"sub": ""}, "invalid_token"),
            ({"nbf": int(time.time()) + 3_600}, "invalid_token"),
            ({"key": "another-secret-of-more-than-32-characters"}, "invalid_token"),
            ({"key": SECRET * 2, "algorithm": "HS384"}, "invalid_token"),
            ({"key": "", "algorithm": "none"}, "invalid_token"),
        ],
    )
    async def test_others_do_not(self, start, upstream, changes, code):
        async with start(url=upstream, **SHARED) as service:
            response = await service.client.get("assistants", headers=bearer(token(**changes)))
        assert error_of(response, 401)["code"] == code

    @pytest.mark.parametrize("sent", ["a.b.c", "ey", "....", "x" * 500])
    async def test_no_tokens_at_all(self, start, upstream, sent):
        async with start(url=upstream, **SHARED) as service:
            assert await status(service.client, sent) == 401

    async def test_a_clock_may_be_a_little_wrong(self, start, upstream):
        async with start(url=upstream, **SHARED) as service:
            assert await status(service.client, token(exp=int(time.time()) - 10)) == 200

    async def test_users_are_not_trusted_and_backends_still_are(self, start, upstream):
        body = {"assistant_id": ASSISTANT, "model": "dear", "thread": {"messages": []}}
        async with start(url=upstream, **SHARED) as service:
            error_of(await service.client.post("threads/runs", json=body, headers=bearer(token())), 403)
            error_of(await service.client.post("sessions", json={"user": "u"}, headers=bearer(token())), 403)
            error_of(await service.client.get("files", headers=bearer(token())), 403)
            assert await status(service.client, KEY_A) == 200


class TestKeys:
    async def test_are_fetched_once(self, start, upstream):
        async with provider(start, upstream, always(200, key_set(one=ONE))) as (client, fake):
            for user in ("u1", "u2", "u3"):
                assert await status(client, token(ONE, "RS256", "one", sub=user)) == 200
            assert fake.count == 1

    async def test_one_key_needs_no_name(self, start, upstream):
        async with provider(start, upstream, always(200, key_set(one=ONE))) as (client, _):
            assert await status(client, token(ONE, "RS256")) == 200

    async def test_a_new_one_is_found(self, start, upstream, monkeypatch):
        monkeypatch.setattr("app.core.security.jwt_auth._RETRY_SECONDS", 0)
        published = [key_set(one=ONE), key_set(one=ONE, two=TWO)]

        async def handle(_request, connection):
            await connection.answer(200, published.pop(0))

        async with provider(start, upstream, handle) as (client, fake):
            assert await status(client, token(ONE, "RS256", "one")) == 200
            assert await status(client, token(TWO, "RS256", "two")) == 200
            assert fake.count == 2

    async def test_made_up_names_do_not_flood_the_provider(self, start, upstream):
        async with provider(start, upstream, always(200, key_set(one=ONE))) as (client, fake):
            for number in range(20):
                assert await status(client, token(TWO, "RS256", f"made-up-{number}")) == 401
            assert fake.count == 1

    async def test_a_public_key_is_no_shared_secret(self, start, upstream):
        """The classic confusion: HS256 signed with the published key; PyJWT does not help to make one."""
        public = ONE.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        unsigned = token("x" * 32, kid="one").rpartition(".")[0]
        signature = base64.urlsafe_b64encode(hmac.digest(public, unsigned.encode(), "sha256")).rstrip(b"=")
        async with provider(start, upstream, always(200, key_set(one=ONE))) as (client, _):
            assert await status(client, f"{unsigned}.{signature.decode()}") == 401
            assert await status(client, token(TWO, "RS256", "one")) == 401

    @pytest.mark.parametrize(
        "handler",
        [
            always(500),
            always(302, location="http://127.0.0.1:1/"),
            always(200, b"no json"),
            always(200, b"[]"),
            always(200, {"keys": []}),
            always(200, b"[" * 300_000),
        ],
    )
    async def test_without_keys_is_an_outage_and_no_refusal(self, start, upstream, handler):
        async with provider(start, upstream, handler) as (client, _):
            response = await client.get("assistants", headers=bearer(token(ONE, "RS256", "one")))
            error = error_of(response, 503)
            assert error["code"] == "identity_provider_unreachable"
            assert response.headers["retry-after"]

    async def test_an_outage_later_harms_nobody(self, start, upstream, monkeypatch):
        monkeypatch.setattr("app.core.security.jwt_auth._FRESH_SECONDS", -1)
        monkeypatch.setattr("app.core.security.jwt_auth._RETRY_SECONDS", 0)
        answers = [json.dumps(key_set(one=ONE)).encode()]

        async def handle(_request, connection):
            await (connection.answer(200, answers.pop()) if answers else connection.answer(500))

        async with provider(start, upstream, handle) as (client, fake):
            for user in ("u1", "u2", "u3"):
                assert await status(client, token(ONE, "RS256", "one", sub=user)) == 200
            assert fake.count >= 1
