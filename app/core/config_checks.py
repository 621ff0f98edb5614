"""What single fields cannot say: settings that contradict each other, each in one line with its remedy."""

from __future__ import annotations

import ipaddress
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

if TYPE_CHECKING:
    from app.core.config import Settings

SESSION_PREFIX = "ss_"
"""What every session token begins with, so that leaked ones can be found."""

OPENAI_BASE_URL = "https://api.openai.com/v1"

_MIN_SECRET_CHARS = 32
_RATE_LIMIT = re.compile(r"[1-9][0-9]{0,8}/([1-9][0-9]{0,4} ?)?(second|minute|hour|day)s?\Z")
_DIGEST = re.compile(r"sha256:[0-9a-fA-F]{64}\Z")
_HOST = re.compile(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\Z|\[[0-9A-Fa-f:.]+\]\Z")


def check_settings(settings: Settings) -> None:
    """Raise `ValueError` for the first contradiction found."""
    for check in (
        _check_upstream,
        _check_embedded,
        _check_workers,
        _check_callers,
        _check_jwt,
        _check_network,
        _check_pages,
    ):
        check(settings)


def checked_rate_limit(text: str) -> str:
    """Return a limit such as `60/minute`; raises `ValueError` for any other text."""
    if not _RATE_LIMIT.match(text):
        raise ValueError(f"{text[:40]!r} is no limit; write one such as 60/minute or 10/second")
    return text


def checked_origin(origin: str) -> str:
    """Return an exact origin; raises `ValueError` for anything that no browser would send as one."""
    parts = urlsplit(origin)
    exact = f"{parts.scheme}://{parts.netloc}"
    if (
        parts.scheme not in {"http", "https"}
        or not parts.hostname
        or "@" in parts.netloc
        or origin != exact.lower()
    ):
        raise ValueError(f"{origin[:100]!r} is no origin; write https://example.com without a path")
    return origin


def counts_in_memory(settings: Settings) -> bool:
    """Tell whether there are several workers, each of which counts limits and repeated keys for itself."""
    return settings.workers > 1 and settings.rate_limit_storage.get_secret_value() == "memory://"


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment names for a URL; None for a loopback host.

    Raises `ValueError` for a proxy that does not speak HTTP.
    """
    parts = urlsplit(url)
    if is_loopback(parts.hostname or "") or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    if urlsplit(proxy).scheme not in {"http", "https"}:
        name = parts.scheme.upper()
        raise ValueError(f"{name}_PROXY or ALL_PROXY must be an http URL; NO_PROXY lists hosts without one")
    return proxy


def _check_upstream(settings: Settings) -> None:
    if settings.azure_openai_endpoint and (settings.openai_api_key or settings.openai_base_url):
        raise ValueError(
            "AZURE_OPENAI_ENDPOINT and OPENAI_API_KEY or OPENAI_BASE_URL are set: keep one upstream"
        )
    if bool(settings.azure_openai_endpoint) != bool(settings.azure_openai_key):
        raise ValueError("AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_KEY belong together: set both or none")
    for name in ("azure_openai_endpoint", "openai_base_url"):
        url = getattr(settings, name)
        if url and not _is_http_url(url):
            raise ValueError(f"{name.upper()} must be an http(s) URL")
    if settings.upstream_kind != "embedded":
        environment_proxy(settings.azure_openai_endpoint or settings.openai_base_url or OPENAI_BASE_URL)


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _check_embedded(settings: Settings) -> None:
    if settings.upstream_kind != "embedded" or settings.embedded_responder != "local":
        return
    if settings.local_model_path is None:
        raise ValueError("EMBEDDED_RESPONDER=local needs LOCAL_MODEL_PATH; ./run.sh local sets both")
    if not settings.local_model_path.is_file():
        raise ValueError("LOCAL_MODEL_PATH names no file; ./run.sh local brings a small model")


def _check_workers(settings: Settings) -> None:
    if settings.workers == 1:
        return
    if settings.upstream_kind == "embedded":
        raise ValueError(
            f"WORKERS={settings.workers} needs an upstream, or each would start an embedded one of its own: "
            "set OPENAI_API_KEY, or WORKERS=1"
        )
    if settings.log_file:
        raise ValueError(
            "LOG_FILE is for one process: with WORKERS above 1, leave it out and keep standard error"
        )


def _check_callers(settings: Settings) -> None:
    if any(len(key.get_secret_value()) < _MIN_SECRET_CHARS for key in settings.secret_keys):
        raise ValueError(
            "SECRET_KEYS: every key needs at least 32 characters; make one with: openssl rand -hex 32"
        )
    if settings.auth_mode == "none":
        if not is_loopback(settings.host) and not settings.allow_anonymous:
            raise ValueError(
                "AUTH_MODE=none serves strangers on HOST: set AUTH_MODE=api_key, or ALLOW_ANONYMOUS=true"
            )
        return
    if not settings.secret_keys:
        raise ValueError(
            f"AUTH_MODE={settings.auth_mode} needs SECRET_KEYS, or threads would have no owner; "
            "set SECRET_KEYS='[\"…\"]' with a key made by: openssl rand -hex 32"
        )
    if settings.auth_mode == "api_key" and not settings.api_keys:
        raise ValueError('AUTH_MODE=api_key needs API_KEYS=\'{"name": "key"}\', or nobody could call')
    _check_api_keys(settings)
    if settings.session_ttl_seconds > settings.session_max_ttl_seconds:
        raise ValueError("SESSION_TTL_SECONDS is above SESSION_MAX_TTL_SECONDS")


def _check_api_keys(settings: Settings) -> None:
    for name, found in settings.api_keys.items():
        keys = found if isinstance(found, list) else [found]
        texts = [key.get_secret_value() for key in keys]
        if not texts or not all(texts):
            raise ValueError(f"API_KEYS: {name!r} has an empty key")
        if any(text.startswith("sha256:") and not _DIGEST.match(text) for text in texts):
            raise ValueError(f"API_KEYS: {name!r}: after sha256: come 64 hex digits")
        if any(text.startswith(SESSION_PREFIX) for text in texts):
            raise ValueError(f"API_KEYS: {name!r}: keys must not begin with {SESSION_PREFIX}, as sessions do")


def _check_jwt(settings: Settings) -> None:
    if settings.auth_mode != "jwt":
        return
    if bool(settings.jwt_jwks_url) == bool(settings.jwt_secret):
        raise ValueError("AUTH_MODE=jwt needs JWT_JWKS_URL or JWT_SECRET, and not both")
    if not settings.jwt_issuer or not settings.jwt_audience:
        raise ValueError("AUTH_MODE=jwt needs JWT_ISSUER and JWT_AUDIENCE, or foreign tokens would be let in")
    if settings.jwt_secret and len(settings.jwt_secret.get_secret_value()) < _MIN_SECRET_CHARS:
        raise ValueError("JWT_SECRET needs at least 32 characters")
    is_shared = settings.jwt_secret is not None
    if any(name.startswith("HS") != is_shared for name in settings.jwt_algorithms or []):
        raise ValueError("JWT_ALGORITHMS: HS… goes with JWT_SECRET, every other one with JWT_JWKS_URL")
    if settings.jwt_jwks_url:
        parts = urlsplit(settings.jwt_jwks_url)
        if parts.scheme != "https" and not is_loopback(parts.hostname or ""):
            raise ValueError("JWT_JWKS_URL must be an https URL")


def _check_pages(settings: Settings) -> None:
    if settings.playground_sessions and not is_loopback(settings.host):
        raise ValueError(
            "PLAYGROUND_SESSIONS=true opens the service to strangers on HOST: keep it to 127.0.0.1"
        )
    if settings.playground_sessions and settings.auth_mode != "none" and not settings.api_keys:
        raise ValueError("PLAYGROUND_SESSIONS=true needs API_KEYS: its sessions belong to the first of them")


def _check_network(settings: Settings) -> None:
    for origin in settings.cors_origins:
        try:
            checked_origin(origin)
        except ValueError as exc:
            raise ValueError(f"CORS_ORIGINS: {exc}") from None
    for proxy in settings.trusted_proxies:
        try:
            ipaddress.ip_network(proxy, strict=False)
        except ValueError:
            raise ValueError(
                f"TRUSTED_PROXIES: {proxy!r} is no address or network; write 10.0.0.0/8"
            ) from None
    for host in settings.trusted_hosts:
        if not _HOST.match(host):
            raise ValueError(f"TRUSTED_HOSTS: {host!r} is no host name; write example.com or *.example.com")
    if not re.match(r"memory://\Z|rediss?://.", settings.rate_limit_storage.get_secret_value()):
        raise ValueError("RATE_LIMIT_STORAGE must be memory:// or redis://host:port/db")
