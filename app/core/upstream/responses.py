"""Upstream responses: starting, reading, following and cancelling them. Source: OpenAI's Responses API."""

from typing import Literal

import structlog

from app.core.observability.run_metrics import RunMetrics
from app.core.upstream.errors import BackgroundRefusedError, UpstreamBrokenError
from app.core.upstream.port import Upstream, UpstreamStream
from app.core.upstream.retries import parsed, read, retry_twice, when_unlocked
from app.translate.events import Json
from app.translate.upstream_types import BadShapeError, checked_response

_log = structlog.get_logger(__name__)
_PATH = "/responses"


class BackgroundSupport:
    """What the upstream can do in the background: the one place where that is known.

    Found out from the upstream's own refusals, or set. Lost with the process and found out again.
    """

    def __init__(self, mode: Literal["auto", "stream", "poll", "off"]) -> None:
        self.streams = mode in {"auto", "stream"}
        self.runs = mode != "off"

    def refuse_streams(self) -> None:
        """The upstream streams in the foreground only."""
        self.streams = False
        _log.warning("upstream_background_refused", what="stream", now="foreground streams")

    def refuse_runs(self) -> None:
        """The upstream has no background mode at all."""
        self.runs = False
        _log.warning("upstream_background_refused", what="run", now="runs finish inside their request")


class Responses:
    """Calls on `/responses`; ids are upstream ids, failures are `UpstreamError`s."""

    def __init__(
        self,
        upstream: Upstream,
        support: BackgroundSupport,
        *,
        lock_wait_seconds: float,
        deadline_seconds: float,
        meters: RunMetrics,
    ) -> None:
        self._upstream = upstream
        self._support = support
        self._lock_wait_seconds = lock_wait_seconds
        self._meters = meters
        self._deadline_seconds = deadline_seconds

    @property
    def streams_in_background(self) -> bool:
        """Whether a response, as far as is known, can be created streaming and outlives its stream."""
        return self._support.streams

    async def start(self, params: Json) -> Json:
        """Create a response: returned queued where the upstream works in the background, else finished."""
        background = self._support.runs
        try:
            return await when_unlocked(
                lambda: self._start(params, background=background),
                self._lock_wait_seconds,
                self._meters.metrics.lock_waited,
            )
        except BackgroundRefusedError:
            if not background:
                raise
        self._support.refuse_runs()
        return await self.start(params)

    async def open_stream(self, params: Json) -> tuple[UpstreamStream, bool]:
        """Create a response and return its stream, and whether it lives on when the stream is closed."""
        background = self._support.streams
        body = {**params, "stream": True, "store": True, "background": background}
        if not background:
            del body["background"]
        try:
            stream = await when_unlocked(
                lambda: self._upstream.stream("POST", _PATH, body=body),
                self._lock_wait_seconds,
                self._meters.metrics.lock_waited,
            )
        except BackgroundRefusedError:
            if not background:
                raise
        else:
            return stream, background
        self._support.refuse_streams()
        return await self.open_stream(params)

    async def get(self, response_id: str) -> Json:
        """Read a response."""
        response = _response(await read(self._upstream, f"{_PATH}/{response_id}"))
        self._meters.saw(response)
        return response

    async def follow(self, response_id: str, *, starting_after: int | None = None) -> UpstreamStream:
        """Open a background response's stream again, from its start or after an event's sequence number."""
        query: dict[str, str | int] = {"stream": "true"}
        if starting_after is not None:
            query["starting_after"] = starting_after
        return await retry_twice(lambda: self._upstream.stream("GET", f"{_PATH}/{response_id}", query=query))

    async def cancel(self, response_id: str) -> Json:
        """Cancel a background response and return what became of it; cancelling twice does no harm."""

        async def post() -> Json:
            return _response(parsed(await self._upstream.request("POST", f"{_PATH}/{response_id}/cancel")))

        response = await retry_twice(post)
        self._meters.metrics.run_cancelled()
        self._meters.saw(response)
        return response

    async def _start(self, params: Json, *, background: bool) -> Json:
        body = {**params, "store": True} | ({"background": True} if background else {})
        timeout = None if background else self._deadline_seconds
        return _response(parsed(await self._upstream.request("POST", _PATH, body=body, timeout=timeout)))


def _response(found: Json) -> Json:
    try:
        return checked_response(found)
    except BadShapeError as exc:
        raise UpstreamBrokenError from exc
