"""Downloads over HTTP: the upstream's bytes passed on, at the pace of the client that reads them."""

import asyncio
from collections.abc import Mapping

from fastapi.responses import Response
from starlette.types import Receive, Scope, Send

from app.api.disconnect import ClientWatch
from app.api.event_stream import StreamBrokenOffError
from app.core.errors import ClientGoneError
from app.core.files.service import Download
from app.core.upstream.errors import UpstreamError


class DownloadResponse(Response):
    """Sends a download; what breaks it later breaks the connection, as its length was promised."""

    def __init__(self, download: Download, headers: Mapping[str, str], *, stall_seconds: float) -> None:
        super().__init__(status_code=download.status, headers=dict(headers) | dict(download.headers))
        if "content-length" not in download.headers:
            del self.headers["content-length"]
        self._stream = download.stream
        self._stall_seconds = stall_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, and close the upstream's connection whatever happens."""
        try:
            async with ClientWatch(receive):
                await send(
                    {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
                )
                async for chunk in self._stream:
                    async with asyncio.timeout(self._stall_seconds):
                        await send({"type": "http.response.body", "body": chunk, "more_body": True})
                await send({"type": "http.response.body", "body": b"", "more_body": False})
        except ClientGoneError:
            return
        except (UpstreamError, TimeoutError) as exc:
            raise StreamBrokenOffError from exc
        finally:
            await self._stream.aclose()
