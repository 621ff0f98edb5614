"""Why no connection to the upstream could be opened, for logs and for `--check`; never shown to clients."""

import errno

import aiohttp

_BY_NUMBER = {
    errno.ECONNREFUSED: "nothing listens there: check the address and the port",
    errno.ENETUNREACH: "this machine has no route there",
    errno.EHOSTUNREACH: "this machine has no route there",
}


def reason_of(exc: BaseException) -> str | None:
    """Return what stopped a connection and what to do, or None where that is not known."""
    if isinstance(exc, aiohttp.ClientHttpProxyError):
        return proxy_refusal(exc.status)
    if isinstance(exc, aiohttp.ClientProxyConnectionError):
        return "the proxy cannot be reached: check HTTPS_PROXY, HTTP_PROXY and ALL_PROXY"
    if isinstance(exc, aiohttp.ClientConnectorCertificateError):
        error = exc.certificate_error
        why = getattr(error, "verify_message", None) or type(error).__name__
        return f"its certificate is not trusted ({why}): name your own authorities in SSL_CERT_FILE"
    if isinstance(exc, aiohttp.ClientSSLError) or isinstance(exc.__cause__, ConnectionResetError):
        return "it breaks the TLS handshake off: check https or http, and the port of its address"
    if isinstance(exc, aiohttp.ClientConnectorDNSError):
        return "its host name is not known: check the address"
    if isinstance(exc, aiohttp.ConnectionTimeoutError):
        return "no connection within OPENAI_CONNECT_TIMEOUT_SECONDS: check the address and firewalls"
    number = exc.errno if isinstance(exc, OSError) else None
    return _BY_NUMBER.get(number) if number else None


def proxy_refusal(status: int) -> str:
    """Return the reason for a proxy's refusal to pass a request on."""
    hint = "it wants a user and password in HTTPS_PROXY" if status == 407 else "list the host in NO_PROXY"
    return f"the proxy refuses with {status}: {hint}, or ask who runs it"
