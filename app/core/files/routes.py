"""Which file routes the upstream has: asked once, when the first request needs them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import structlog

from app.core.errors import BadRequestError
from app.core.upstream.errors import NO_RETRY, NO_ROUTE, UpstreamError, UpstreamMalformedError
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed
from app.translate.attachments import FILE_SEARCH
from app.translate.upstream_types import checked_page

_log = structlog.get_logger(__name__)
_FILES, _STORES = "/files", "/vector_stores"
_ASK_SECONDS = 5.0


class NoFilesError(BadRequestError):
    """The upstream has no place for files."""

    code = "upstream_has_no_files"

    def __init__(self, param: str | None) -> None:
        super().__init__(
            "The assistant's upstream takes no uploads. Send small files together with the message, as a "
            "form to POST /chat; for others its operator needs an upstream with /files.",
            param=param,
            headers=NO_RETRY,
        )


class NoToolError(BadRequestError):
    """The upstream has no server for a tool that reads files."""

    code = "tool_not_supported"

    def __init__(self, tool: str, param: str) -> None:
        needed = _STORES if tool == FILE_SEARCH else _FILES
        super().__init__(
            f"The assistant's upstream cannot carry out {tool}: it has no {needed}. Leave the tool out of "
            f"'{param}', or let the operator choose an upstream that has it.",
            param=param,
            headers=NO_RETRY,
        )


class FileRoutes:
    """What this process knows of the upstream's `/files` and `/vector_stores`."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream
        self._found: dict[str, bool] = {}

    @property
    def lacks_files(self) -> bool:
        """Whether it is known already that no file can be uploaded."""
        return self._found.get(_FILES) is False

    async def take_files(self) -> bool:
        """Return whether files can be uploaded. Upstream: GET files, the first time."""
        return await self._exists(_FILES)

    async def check_files(self, param: str | None = None) -> None:
        """Raise `NoFilesError` if files cannot be uploaded."""
        if not await self.take_files():
            raise NoFilesError(param)

    async def check_tools(self, tools: Sequence[str], param: str) -> None:
        """Raise `NoToolError` for the first of these tools that lacks what it reads.

        Upstream: GET files and GET vector_stores, the first time.
        """
        for tool in tools:
            if not await self.take_files() or (tool == FILE_SEARCH and not await self._exists(_STORES)):
                raise NoToolError(tool, param)

    @asynccontextmanager
    async def needed(self, param: str | None = None) -> AsyncIterator[None]:
        """Raise `NoFilesError` for a failure of the block that comes of routes the upstream lacks."""
        try:
            yield
        except UpstreamError as exc:
            if exc.upstream_status in NO_ROUTE and not await self.take_files():
                raise NoFilesError(param) from exc
            raise

    @asynccontextmanager
    async def needed_for(self, tool: str, param: str) -> AsyncIterator[None]:
        """Raise `NoToolError` for a failure of the block that comes of routes the upstream lacks."""
        try:
            yield
        except UpstreamError as exc:
            if exc.upstream_status in NO_ROUTE:
                await self.check_tools([tool], param)
            raise

    async def _exists(self, path: str) -> bool:
        if path not in self._found:
            try:
                found = await self._upstream.request("GET", path, query={"limit": 1}, timeout=_ASK_SECONDS)
                parsed(found, checked_page)
            except UpstreamError as exc:
                # Some servers answer 200 to everything.
                is_missing = exc.upstream_status in NO_ROUTE or isinstance(exc, UpstreamMalformedError)
                if not is_missing:
                    # The request itself tells what is wrong.
                    return True
                _log.info("upstream_route_missing", path=path)
                self._found[path] = False
            else:
                self._found[path] = True
        return self._found[path]
