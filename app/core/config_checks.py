"""What single fields cannot say: settings that contradict each other, each in one line with its remedy."""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from app.core.config import Settings

_MIN_SECRET_CHARS = 32


def check_settings(settings: Settings) -> None:
    """Raise `ValueError` for the first contradiction found."""
    for check in (_check_upstream, _check_embedded, _check_callers, _check_origins):
        check(settings)


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_upstream(settings: Settings) -> None:
    if settings.azure_openai_endpoint and (settings.openai_api_key or settings.openai_base_url):
        raise ValueError(
            "AZURE_OPENAI_ENDPOINT and OPENAI_API_KEY or OPENAI_BASE_URL are set: keep one upstream"
        )
    if bool(settings.azure_openai_endpoint) != bool(settings.azure_openai_key):
        raise ValueError("AZURE_OPENAI_ENDPOINT and AZURE_OPENAI_KEY belong together: set both or none")
    for name in ("azure_openai_endpoint", "openai_base_url"):
        url = getattr(settings, name)
        if url and (urlsplit(url).scheme not in {"http", "https"} or not urlsplit(url).hostname):
            raise ValueError(f"{name.upper()} must be an http(s) URL")


def _check_embedded(settings: Settings) -> None:
    if settings.upstream_kind != "embedded":
        return
    if settings.embedded_responder == "local" and settings.local_model_path is None:
        raise ValueError("EMBEDDED_RESPONDER=local needs LOCAL_MODEL_PATH; ./run.sh local sets both")


def _check_callers(settings: Settings) -> None:
    if any(len(key.get_secret_value()) < _MIN_SECRET_CHARS for key in settings.secret_keys):
        raise ValueError(
            "SECRET_KEYS: every key needs at least 32 characters; make one with: openssl rand -hex 32"
        )
    if settings.auth_mode == "none" and not is_loopback(settings.host) and not settings.allow_anonymous:
        raise ValueError(
            "AUTH_MODE=none serves strangers on HOST: set AUTH_MODE=api_key, or ALLOW_ANONYMOUS=true"
        )


def _check_origins(settings: Settings) -> None:
    for origin in settings.cors_origins:
        parts = urlsplit(origin)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.path or parts.query:
            raise ValueError(
                f"CORS_ORIGINS: {origin!r} is no origin; write https://example.com without a path"
            )
