"""Host names, addresses, URLs, origins and proxies."""

import ipaddress
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def origin_of(host: str, port: int) -> str:
    """Return the origin at which a browser on this machine reaches a service that listens there."""
    shown = {"0.0.0.0": "127.0.0.1", "": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"http://[{shown}]:{port}" if ":" in shown else f"http://{shown}:{port}"


def checked_origin(origin: str) -> str:
    """Return an origin as it is; raises `ValueError` for one that no browser would send."""
    parts = urlsplit(origin)
    exact = f"{parts.scheme}://{parts.netloc}".lower()
    if not is_http_url(origin) or "@" in parts.netloc or origin != exact:
        raise ValueError(f"{origin[:100]!r} is no origin; write https://example.com without a path")
    return origin


def is_http_url(url: str) -> bool:
    """Return whether a URL is complete and has the scheme http or https."""
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def environment_proxy(url: str) -> str | None:
    """Return the proxy that the environment sets for a URL; None for a loopback host.

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


def with_path(url: str, path: str) -> str:
    """Return the origin of a URL with another path, and the path alone where there is no URL."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}{path}" if parts.netloc else path
