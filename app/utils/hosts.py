"""Names and addresses of machines, and the origins of web pages."""

import ipaddress
from urllib.parse import urlsplit


def is_loopback(host: str) -> bool:
    """Tell whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


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
