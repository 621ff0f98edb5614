"""Host names, addresses, URLs, origins and proxies."""

import ipaddress
import re
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import idna

_HOST = re.compile(r"[A-Za-z0-9._-]+\Z|\[[0-9a-f:.]+\]\Z")


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


def browser_origin(origin: str) -> str:
    """Return an origin as browsers send it: lower case, in punycode, without a default port.

    Raises `ValueError` for what is no single origin.
    """
    if "*" in origin:
        raise ValueError("must be one origin: name each, as https://a.example or '[\"https://a.example\"]'")
    parts = urlsplit(origin)
    is_bare = parts.path in {"", "/"} and not parts.query and not parts.fragment and "@" not in parts.netloc
    if not is_bare or re.search(r"\s", origin) or not is_http_url(origin):
        raise ValueError("must be an origin such as https://example.com, without a path")
    host = ascii_host(parts.hostname or "")
    # An origin may become part of a header, where ";" would begin something else.
    if not _HOST.match(host):
        raise ValueError("must be an origin such as https://example.com, without a path")
    is_default = parts.port == {"http": 80, "https": 443}[parts.scheme]
    return f"{parts.scheme}://{host}" + ("" if is_default or parts.port is None else f":{parts.port}")


def ascii_host(host: str) -> str:
    """Return a host as browsers send it: in punycode, and IPv6 in brackets. Raises `ValueError`."""
    if ":" in host:
        return f"[{ipaddress.ip_address(host)}]"
    # A name in ASCII may have underscores, which browsers send and IDNA refuses.
    return host if host.isascii() else idna.encode(host, uts46=True).decode()


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
