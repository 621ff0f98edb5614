"""Names and addresses of machines, and the origins of web pages."""

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


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


def is_http_url(url: str) -> bool:
    """Tell whether an HTTP client could ask this URL."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
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
