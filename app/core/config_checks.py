"""Checks of settings that contradict each other.

Each check yields its contradictions, a line for each that says what to do. Checks take single values, because
`Settings` calls them: taking `Settings` would make a circle of imports.
"""

import re
from collections.abc import Iterable, Iterator, Sized
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.utils.hosts import environment_proxy, is_loopback

OPENAI_BASE_URL = "https://api.openai.com/v1"

_MIN_SECRET_CHARS = 32
_PATH = re.compile(r"/*[\w.~-]+(/[\w.~-]+)*/*\Z|/\Z", re.ASCII)


def check_upstream(
    openai_key: SecretStr | None, openai_url: str | None, azure_key: SecretStr | None, azure_url: str | None
) -> Iterator[str]:
    """Find two upstreams, an incomplete one, and a proxy that cannot be used."""
    if azure_url and (openai_key or openai_url):
        yield "AZURE_OPENAI_ENDPOINT and OPENAI_API_KEY or OPENAI_BASE_URL are set: keep one upstream"
    if bool(azure_url) != bool(azure_key):
        yield "AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_KEY belong together: set both or none"
    if azure_url or openai_url or openai_key:
        try:
            # The first call would find it too late.
            environment_proxy(azure_url or openai_url or OPENAI_BASE_URL)
        except ValueError as exc:
            yield str(exc)


def check_callers(auth_mode: str, secret_keys: Sized, api_keys: Sized) -> Iterator[str]:
    """Find a mode without the keys that it needs."""
    if auth_mode != "none" and not secret_keys:
        yield (
            f"AUTH_MODE={auth_mode} needs SECRET_KEYS, or threads would have no owner; "
            "set it to a key made by: openssl rand -hex 32"
        )
    if auth_mode == "api_key" and not api_keys:
        yield "AUTH_MODE=api_key needs API_KEYS=name=key, or nobody could call"


def check_jwt(
    jwks_url: str | None,
    secret: SecretStr | None,
    issuer: str | None,
    audience: str | None,
    algorithms: Iterable[str] | None,
) -> Iterator[str]:
    """Find an incomplete identity provider, and algorithms that do not go with its keys."""
    if bool(jwks_url) == bool(secret):
        yield "AUTH_MODE=jwt needs JWT_JWKS_URL or JWT_SECRET, and not both"
    if not issuer or not audience:
        yield "AUTH_MODE=jwt needs JWT_ISSUER and JWT_AUDIENCE, or foreign tokens would be let in"
    if secret and len(secret.get_secret_value()) < _MIN_SECRET_CHARS:
        yield "JWT_SECRET needs at least 32 characters"
    # With HS… and a public key as the secret, anybody could sign tokens.
    if any(name.startswith("HS") != (secret is not None) for name in algorithms or []):
        yield "JWT_ALGORITHMS: HS… goes with JWT_SECRET, every other one with JWT_JWKS_URL"
    if jwks_url:
        parts = urlsplit(jwks_url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            yield "JWT_JWKS_URL must be an https URL"


def check_anonymous(host: str, *, is_allowed: bool) -> Iterator[str]:
    """Find anonymous callers from other machines, unless they are explicitly allowed."""
    if not is_loopback(host) and not is_allowed:
        yield (
            f"AUTH_MODE=none serves strangers on HOST={host}: "
            "set AUTH_MODE=api_key, or ALLOW_ANONYMOUS=true, or HOST=127.0.0.1"
        )


def check_root_path(root_path: str | None, public_url: str | None) -> Iterator[str]:
    """Find a prefix that is no plain path, and two different ones."""
    if root_path is None:
        return
    if not _PATH.match(root_path):
        yield f"ROOT_PATH: {root_path!r} is no path; write it as in /openai-api"
    public = urlsplit(public_url or "").path.strip("/")
    if public and public != root_path.strip("/"):
        yield "ROOT_PATH and the path of PUBLIC_URL differ: leave ROOT_PATH out"


def check_playground_sessions(host: str, auth_mode: str, api_keys: Sized) -> Iterator[str]:
    """Find sessions without a credential unless only this machine can reach the service."""
    if not is_loopback(host):
        yield f"PLAYGROUND_SESSIONS=true opens the service to strangers on HOST={host}: keep it to 127.0.0.1"
    if auth_mode != "none" and not api_keys:
        yield "PLAYGROUND_SESSIONS=true needs API_KEYS: its sessions belong to the first of them"
