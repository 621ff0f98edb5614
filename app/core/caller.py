"""Who calls, and what a request carries through the services."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from app.core.errors import ForbiddenError, not_found
from app.utils.ids import BadIdError, IdCodec

_HEADER_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,128}\Z")
_MOST_NAMED = 20


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated party.

    `owner` names whose threads these are; it goes into signatures and never leaves. A trusted caller holds an
    API key, or sits on this machine; a browser is never trusted, because what it sends, its user can write.
    """

    kind: Literal["anonymous", "api_key", "session", "user"] = "anonymous"
    owner: str = ""
    is_trusted: bool = True
    thread_id: str | None = None
    """The one thread that a session is bound to."""

    key_name: str | None = None
    """The API key behind the call, for a key and for the sessions that it minted."""

    user: str | None = None
    """The user that the call is made for, where one is known."""

    counted_as: str | None = None
    """Whose requests and streams count together; None is not counted."""

    chat_limit: str | None = None
    """A session's own limit for chats and runs, such as `30/minute`."""

    safety_identifier: str | None = None
    """What the upstream may know of the owner: a keyed hash."""

    @property
    def stream_holder(self) -> str | None:
        """Whose open streams count together; a key that acts for nobody serves many and is not capped."""
        return None if self.kind == "api_key" and self.user is None else self.counted_as


@dataclass(slots=True)
class RequestScope:
    """A request's caller, its ids, and what the response's headers shall say."""

    caller: Caller
    ids: IdCodec
    safety_identifier: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    def conversation(self, thread_id: str, *, of: str = "thread") -> str:
        """Return the upstream conversation of a thread; a foreign thread is an unknown one.

        `of` is what is looked for in it: where the upstream says only that, a foreign thread says no more.
        """
        if self.caller.thread_id is not None and self.caller.thread_id != thread_id:
            raise not_found(of)
        return self._opened(self.ids.conversation, thread_id, of)

    def response(self, run_id: str) -> str:
        """Return the upstream response that a run began as."""
        return self._opened(self.ids.response, run_id, "run")

    def item(self, message_id: str) -> str:
        """Return the upstream item of a message."""
        return self._opened(self.ids.item, message_id, "message")

    def check_new_thread(self) -> None:
        """Refuse a new thread to a session that is bound to one."""
        if self.caller.thread_id is not None:
            raise ForbiddenError(
                "This session is bound to one thread. Send its 'thread_id'.", code="session_bound_to_thread"
            )

    def file(self, file_id: str, param: str = "file_id") -> tuple[str, str | None]:
        """Return the upstream file, and the container it lives in if it does, of a file id."""
        try:
            return self.ids.upstream_file(file_id)
        except BadIdError:
            raise not_found("file", param=param) from None

    def ignore(self, names: list[str]) -> None:
        """Say in `x-ignored-params` that these were not heeded.

        Callers choose these names: what no header can carry shows as `?`, what is too much as `...`.
        """
        before = self.headers.get("x-ignored-params")
        safe = [name if _HEADER_NAME.match(name) else "?" for name in names]
        named = list(dict.fromkeys([*(before.split(", ") if before else []), *safe]))
        rest = ["..."] if len(named) > _MOST_NAMED else []
        self.headers["x-ignored-params"] = ", ".join(named[:_MOST_NAMED] + rest)

    def _opened(self, opener: Callable[[str], str], client_id: str, what: str) -> str:
        try:
            return opener(client_id)
        except BadIdError:
            raise not_found(what, param=f"{what}_id") from None
