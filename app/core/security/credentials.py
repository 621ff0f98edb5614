"""Credentials and addresses in a request's headers, read in one pass and not verified yet."""

import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from app.core.errors import BadRequestError

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Header = tuple[bytes, bytes]

MAX_USER_CHARS = 256
_BEARER = b"bearer "
_PROXY_HEADERS = {b"x-forwarded-for", b"forwarded", b"x-real-ip", b"via"}
_SINGLE = {b"authorization", b"x-api-key", b"origin", b"host", b"x-user-id", b"x-embed-origin"}
_READ = _SINGLE | _PROXY_HEADERS | {b"sec-fetch-site"}
# One IPv6 customer has a whole /64, so its addresses count together.
_COUNTED_IPV6_BITS = 64


@dataclass(slots=True)
class Credentials:
    """A request's credentials; `address` is the client's, as far as trusted proxies report it.

    `embedder` is the origin of the page that frames the sender, as the sender says (`x-embed-origin`); `site`
    is where the request comes from, as the browser says (`Sec-Fetch-Site`).
    """

    token: str | None
    origin: str | None
    host: str | None
    embedder: str | None
    site: bytes | None
    user: bytes | None
    address: str
    is_forwarded: bool

    @property
    def is_local(self) -> bool:
        """Whether the client is on this machine, and no proxy has forwarded the request."""
        return not self.is_forwarded and is_loopback_address(self.address)


class CredentialReader:
    """Reads credentials; `X-Forwarded-For` counts only if one of `trusted_proxies` sent it."""

    def __init__(self, trusted_proxies: Sequence[str]) -> None:
        self._networks = tuple(ipaddress.ip_network(proxy, strict=False) for proxy in trusted_proxies)

    def read(self, headers: Iterable[Header], peer: str | None) -> Credentials:
        """Return the credentials in the headers; `peer` is the address of the TCP connection."""
        found: dict[bytes, bytes] = {}
        hops: list[bytes] = []
        for name, value in headers:
            if name == b"x-forwarded-for":
                hops.append(value)
            if name in _READ:
                if name in found and name in _SINGLE:
                    raise _repeated(name)
                found[name] = value
        origin, host, embedder = found.get(b"origin"), found.get(b"host"), found.get(b"x-embed-origin")
        return Credentials(
            token=_token(found),
            origin=origin.decode("latin-1") if origin is not None else None,
            host=host.decode("latin-1") if host is not None else None,
            embedder=embedder.decode("latin-1") if embedder is not None else None,
            site=found.get(b"sec-fetch-site"),
            user=found.get(b"x-user-id"),
            address=client_address(peer or "", b",".join(hops), self._networks),
            is_forwarded=not _PROXY_HEADERS.isdisjoint(found),
        )


def _repeated(name: bytes) -> BadRequestError:
    return BadRequestError(
        f"The header '{name.decode()}' comes more than once. Send it once.",
        param=name.decode(),
        code="repeated_header",
    )


def _token(found: dict[bytes, bytes]) -> str | None:
    header = found.get(b"authorization", b"")
    if header[: len(_BEARER)].lower() == _BEARER:
        return header[len(_BEARER) :].strip().decode("latin-1") or None
    return found.get(b"x-api-key", b"").strip().decode("latin-1") or None


@lru_cache(maxsize=4_096)
def client_address(peer: str, forwarded: bytes, networks: tuple[Network, ...]) -> str:
    """Return the last address before the trusted proxies, going back from the peer; IPv6 as its /64."""
    address = _parsed(peer)
    if address is None:
        return "local"
    hops = [hop.strip() for hop in forwarded.decode("latin-1").split(",")]
    while hops and any(address in network for network in networks):
        before = _parsed(hops.pop())
        if before is None:
            break
        address = before
    if address.version == 6 and not address.is_loopback:
        return str(ipaddress.ip_network((address, _COUNTED_IPV6_BITS), strict=False))
    return str(address)


@lru_cache(maxsize=1_024)
def is_loopback_address(address: str) -> bool:
    """Return whether an address is a loopback one; clients of Unix sockets count as local."""
    found = _parsed(address)
    return address == "local" if found is None else found.is_loopback


def checked_user(user: str | bytes, param: str) -> str:
    """Return a user's id from a header or a body; raises `BadRequestError` for one that is not valid."""
    try:
        text = user.decode() if isinstance(user, bytes) else user
    except UnicodeDecodeError:
        text = ""
    if not 0 < len(text) <= MAX_USER_CHARS or not text.isprintable():
        raise BadRequestError(
            f"'{param}' must be 1 to {MAX_USER_CHARS} printable characters in UTF-8.", param=param
        )
    return text


def _parsed(text: str) -> Address | None:
    # Some proxies add a port, as in [::1]:80 or 127.0.0.1:80.
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address
