"""Checks of settings that contradict each other.

Each check raises `ValueError` for the first contradiction, in one line that says what to do. Checks take
single values, because `Settings` calls them: taking `Settings` would make a circle of imports.
"""

import ipaddress
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from urllib.parse import urlsplit

from pydantic import SecretStr

from app.models.sessions import SESSION_PREFIX
from app.utils.hosts import checked_origin, environment_proxy, is_http_url, is_loopback

OPENAI_BASE_URL = "https://api.openai.com/v1"

_MIN_SECRET_CHARS = 32
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}\Z")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z|\[[0-9A-Fa-f:.]+\]\Z")
_PATH = re.compile(r"/*[\w.~-]+(/[\w.~-]+)*/*\Z|/\Z", re.ASCII)
ApiKeys = Mapping[str, SecretStr | list[SecretStr]]


def check_upstream(
    openai_key: SecretStr | None, openai_url: str | None, azure_key: SecretStr | None, azure_url: str | None
) -> None:
    """Refuse two upstreams, an incomplete one, and malformed URLs."""
    if azure_url and (openai_key or openai_url):
        raise ValueError(
            "AZURE_OPENAI_ENDPOINT and OPENAI_API_KEY or OPENAI_BASE_URL are set: keep one upstream"
        )
    if bool(azure_url) != bool(azure_key):
        raise ValueError("AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_KEY belong together: set both or none")
    for name, url in (("AZURE_OPENAI_ENDPOINT", azure_url), ("OPENAI_BASE_URL", openai_url)):
        if url and not is_http_url(url):
            raise ValueError(f"{name} must be an http(s) URL")
    if azure_url or openai_url or openai_key:
        # It raises for a proxy that does not speak HTTP, which the first call would find too late.
        environment_proxy(azure_url or openai_url or OPENAI_BASE_URL)


def check_local_model(path: Path | None) -> None:
    """Refuse the local responder without a model file."""
    if path is None:
        raise ValueError("EMBEDDED_RESPONDER=local needs LOCAL_MODEL_PATH; ./run.sh local sets both")
    if not path.is_file():
        raise ValueError("LOCAL_MODEL_PATH names no file; ./run.sh local brings a small model")


def check_callers(auth_mode: str, secret_keys: Iterable[SecretStr], api_keys: ApiKeys) -> None:
    """Refuse weak or malformed keys, and a mode without the keys that it needs."""
    secrets = [key.get_secret_value() for key in secret_keys]
    if any(len(secret) < _MIN_SECRET_CHARS for secret in secrets):
        raise ValueError(
            "SECRET_KEYS: every key needs at least 32 characters; make one with: openssl rand -hex 32"
        )
    if auth_mode == "none":
        return
    if not secrets:
        raise ValueError(
            f"AUTH_MODE={auth_mode} needs SECRET_KEYS, or threads would have no owner; "
            "set SECRET_KEYS='[\"…\"]' with a key made by: openssl rand -hex 32"
        )
    if auth_mode == "api_key" and not api_keys:
        raise ValueError('AUTH_MODE=api_key needs API_KEYS=\'{"name": "key"}\', or nobody could call')
    for name, found in api_keys.items():
        _check_api_key(name, found if isinstance(found, list) else [found])


def _check_api_key(name: str, keys: Iterable[SecretStr]) -> None:
    texts = [key.get_secret_value() for key in keys]
    if not texts or not all(map(str.strip, texts)):
        raise ValueError(f"API_KEYS: {name!r} has an empty key")
    if any(text.startswith("sha256:") and not _DIGEST.match(text) for text in texts):
        raise ValueError(f"API_KEYS: {name!r}: after sha256: come 64 hex digits")
    # The prefix decides whether a credential is read as a session or as a key.
    if any(text.startswith(SESSION_PREFIX) for text in texts):
        raise ValueError(f"API_KEYS: {name!r}: keys must not begin with {SESSION_PREFIX}, as sessions do")


def check_jwt(
    jwks_url: str | None,
    secret: SecretStr | None,
    issuer: str | None,
    audience: str | None,
    algorithms: Iterable[str] | None,
) -> None:
    """Refuse an incomplete identity provider, and algorithms that do not go with its keys."""
    if bool(jwks_url) == bool(secret):
        raise ValueError("AUTH_MODE=jwt needs JWT_JWKS_URL or JWT_SECRET, and not both")
    if not issuer or not audience:
        raise ValueError("AUTH_MODE=jwt needs JWT_ISSUER and JWT_AUDIENCE, or foreign tokens would be let in")
    if secret and len(secret.get_secret_value()) < _MIN_SECRET_CHARS:
        raise ValueError("JWT_SECRET needs at least 32 characters")
    # With HS… and a public key as the secret, anybody could sign tokens.
    if any(name.startswith("HS") != (secret is not None) for name in algorithms or []):
        raise ValueError("JWT_ALGORITHMS: HS… goes with JWT_SECRET, every other one with JWT_JWKS_URL")
    if jwks_url:
        parts = urlsplit(jwks_url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError("JWT_JWKS_URL must be an https URL")


def check_anonymous(host: str, *, is_allowed: bool) -> None:
    """Refuse anonymous callers from other machines, unless they are explicitly allowed."""
    if not is_loopback(host) and not is_allowed:
        raise ValueError(
            "AUTH_MODE=none serves strangers on HOST: set AUTH_MODE=api_key, or ALLOW_ANONYMOUS=true"
        )


def check_network(
    cors_origins: Iterable[str], trusted_proxies: Iterable[str], trusted_hosts: Iterable[str], storage: str
) -> None:
    """Refuse malformed origins, networks, host names and storage URLs."""
    for origin in cors_origins:
        try:
            checked_origin(origin)
        except ValueError as exc:
            raise ValueError(f"CORS_ORIGINS: {exc}") from None
    for proxy in trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise ValueError(
                f"TRUSTED_PROXIES: {proxy!r} is no address or network; write 10.0.0.0/8"
            ) from None
    for host in trusted_hosts:
        if not _HOST.match(host):
            raise ValueError(f"TRUSTED_HOSTS: {host!r} is no host name; write example.com or *.example.com")
    if not re.match(r"memory://\Z|rediss?://.", storage):
        raise ValueError("RATE_LIMIT_STORAGE must be memory:// or redis://host:port/db")


def check_root_path(root_path: str | None, public_url: str | None) -> None:
    """Refuse a prefix that is no plain path, and two different ones."""
    if root_path is None:
        return
    if not _PATH.match(root_path):
        raise ValueError(f"ROOT_PATH: {root_path!r} is no path; write it as in /openai-api")
    public = urlsplit(public_url or "").path.strip("/")
    if public and public != root_path.strip("/"):
        raise ValueError("ROOT_PATH and the path of PUBLIC_URL differ: leave ROOT_PATH out")


def check_playground_sessions(host: str, auth_mode: str, api_keys: ApiKeys) -> None:
    """Refuse sessions without a credential unless only this machine can reach the service."""
    if not is_loopback(host):
        raise ValueError(
            "PLAYGROUND_SESSIONS=true opens the service to strangers on HOST: keep it to 127.0.0.1"
        )
    if auth_mode != "none" and not api_keys:
        raise ValueError("PLAYGROUND_SESSIONS=true needs API_KEYS: its sessions belong to the first of them")
