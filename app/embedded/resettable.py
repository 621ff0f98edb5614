"""The HTTP protocol of the embedded upstream's server: httptools, with a way to reset a connection."""

import socket
import struct

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from app.embedded.streaming import RESET_EXTENSION


class ResettableProtocol(HttpToolsProtocol):
    """Lets a fault end its connection with a TCP reset."""

    def on_message_begin(self) -> None:
        """Offer the reset in the scope of every request."""
        super().on_message_begin()
        self.scope["extensions"] = {RESET_EXTENSION: {"reset": self._reset}}

    def _reset(self) -> None:
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            # Lingering for zero seconds makes close() send RST in place of FIN.
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()
