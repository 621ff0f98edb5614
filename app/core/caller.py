"""The caller of a request, and the scope that a request carries through the services."""

import hmac
import re
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal, TypeVar

from app.core.errors import ConflictError, ForbiddenError, not_found
from app.utils.ids import BadIdError, IdCodec, is_own

_HEADER_NAME = re.compile(r"[A-Za-z0-9_.\[\]-]{1,128}\Z")
_MOST_NAMED = 20
T = TypeVar("T")

current_owner: ContextVar[str | None] = ContextVar("current_owner", default=None)
"""The `Caller.owner` of the request that this code runs for; None outside of requests."""


@lru_cache(maxsize=10_000)
def owner_hash(key: bytes, owner: str) -> str:
    """Return a hash of an owner, keyed so that nobody else can guess owners from their hashes."""
    return hmac.digest(key, b"safety\0" + owner.encode(), "sha256").hex()


@dataclass(frozen=True, slots=True)
class Caller:
    """One authenticated party.

    `owner` is part of every signature and never sent to anybody. A trusted caller holds an API key or is on
    this machine. A browser is never trusted, because its user can change everything that it sends.
    """

    kind: Literal["anonymous", "api_key", "session", "user"] = "anonymous"
    owner: str = ""
    is_trusted: bool = True
    thread_id: str | None = None  # the only thread that a session may use
    key_name: str | None = None  # the API key of the call, or the one that minted the session
    user: str | None = None  # whom the call is made for, if known
    counted_as: str | None = None  # callers with the same value share limits; None has no limits
    chat_limit: str | None = None  # a session's own limit for chats and runs, such as 30/minute
    budget_tokens: int | None = None  # what sessions of this user that have a budget may spend in a day
    safety_identifier: str | None = None  # a keyed hash of the owner, for the upstream
    claims: Mapping[str, Any] = field(default_factory=dict, hash=False)  # of the session or token, for tools

    @property
    def stream_holder(self) -> str | None:
        """Callers with the same value share the cap on streams; None has no cap."""
        # A key that acts for nobody serves many users at once.
        return None if self.kind == "api_key" and self.user is None else self.counted_as


@dataclass(slots=True)
class RequestScope:
    """A request's caller, its id codec, and headers for the response."""

    caller: Caller
    ids: IdCodec
    keeps_own: bool | None = False  # whether the service keeps conversations; None while that is not known
    safety_identifier: str | None = None
    headers: dict[str, str] = field(default_factory=dict)
    has_new_thread: bool = False  # whether the turn's thread was made for it, and is empty
    shows_results: bool = False  # whether the client asked for the passages that file searches found

    def conversation(self, thread_id: str, *, of: str = "thread") -> str:
        """Return the conversation of a thread; raises `NotFoundError` for another caller's thread.

        `of` is the kind of object that the error names, so that it looks like the upstream's own. Raises
        `ConflictError` for a thread that is kept where conversations were kept before the settings changed.
        """
        if self.caller.thread_id is not None and self.caller.thread_id != thread_id:
            raise not_found(of)
        conversation_id = self._opened(self.ids.conversation, thread_id, of)
        if self.keeps_own is not None and is_own(conversation_id) != self.keeps_own:
            place = "by its upstream" if self.keeps_own else "by the service itself"
            raise ConflictError(
                f"This thread was kept {place}, and new ones are kept elsewhere. Start a new thread, or ask "
                "the operator to set CONVERSATIONS back.",
                code="thread_kept_elsewhere",
                headers={"x-should-retry": "false"},
            )
        return conversation_id

    def response(self, run_id: str) -> str:
        """Return the upstream response that started a run."""
        return self._opened(self.ids.response, run_id, "run")

    def item(self, message_id: str, param: str | None = None) -> str:
        """Return the upstream item of a message."""
        return self._opened(self.ids.item, message_id, "message", param)

    def check_new_thread(self) -> None:
        """Raise `ForbiddenError` for a session that is bound to a thread."""
        if self.caller.thread_id is not None:
            raise ForbiddenError(
                "This session is bound to one thread. Send its 'thread_id'.", code="session_bound_to_thread"
            )

    def file(self, file_id: str, param: str = "file_id") -> tuple[str, str | None]:
        """Return the upstream ids of a file and of its container, None for files outside of containers."""
        return self._opened(self.ids.upstream_file, file_id, "file", param)

    def picture(self, file_id: str, param: str = "file_id") -> tuple[str, str, int] | None:
        """Return the conversation, item and number of a picture; None for the id of another file."""
        place = self._opened(self.ids.upstream_picture, file_id, "file", param)
        if place is not None:
            self.conversation(self.ids.thread(place[0]), of="file")
        return place

    def ignore(self, names: list[str]) -> None:
        """Add names of parameters to `x-ignored-params`."""
        # Callers choose the names, so their characters, length and number are bounded.
        before = self.headers.get("x-ignored-params")
        safe = [name if _HEADER_NAME.match(name) else "?" for name in names]
        named = list(dict.fromkeys([*(before.split(", ") if before else []), *safe]))
        rest = ["..."] if len(named) > _MOST_NAMED else []
        self.headers["x-ignored-params"] = ", ".join(named[:_MOST_NAMED] + rest)

    def _opened(self, opener: Callable[[str], T], client_id: str, what: str, param: str | None = None) -> T:
        try:
            return opener(client_id)
        except BadIdError:
            raise not_found(what, param=param) from None
