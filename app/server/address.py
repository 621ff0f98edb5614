"""The address that the service listens on, tried before anything starts."""

import errno
import os
import socket

from app.core.config import Settings

_REASONS = {
    errno.EADDRINUSE: "PORT={port} is in use on {host}; stop the program there, or set another PORT",
    errno.EACCES: "PORT={port} needs the rights of root; set a PORT of 1024 or more",
    errno.EADDRNOTAVAIL: "HOST={host} is no address of this machine; set 127.0.0.1, or 0.0.0.0 for all",
}


def check_address(settings: Settings) -> None:
    """Raise `ValueError`, in one line, for a HOST and PORT that nothing can listen on."""
    host, port = settings.host, settings.port
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError:
        raise ValueError(_REASONS[errno.EADDRNOTAVAIL].format(host=host)) from None
    failures = [_failure(family, address) for family, _, _, _, address in found]
    # A name such as localhost may also have an address of IPv6, which the machine lacks.
    for number in failures:
        if number and (number != errno.EADDRNOTAVAIL or all(failures)):
            reason = _REASONS.get(number, "HOST={host} and PORT={port} cannot be listened on: {text}")
            raise ValueError(reason.format(host=host, port=port, text=os.strerror(number)))


def _failure(family: int, address: tuple[object, ...]) -> int | None:
    """Return the number of the error that binding raises, or None."""
    try:
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            if os.name == "posix":
                # As servers do it: connections that were closed a moment ago do not keep a port.
                listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind(address)
    except OSError as exc:
        return errno.EADDRNOTAVAIL if exc.errno == errno.EAFNOSUPPORT else exc.errno
    return None
