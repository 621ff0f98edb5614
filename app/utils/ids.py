"""Ids: the only module that looks inside them.

Clients see ids with the Assistants prefixes, the upstream has its own prefixes, and both share the suffix.
With `SECRET_KEYS`, every id carries a signature over kind, owner and suffix, so that a foreign or forged id
is recognised without an upstream call and without a table.
"""

import hmac
import re
import secrets
import time
from collections.abc import Sequence
from functools import lru_cache

_SUFFIX = re.compile(r"[A-Za-z0-9~][A-Za-z0-9_.\-~]{0,159}\Z")
# A UUID of version 8 whose first 32 bits are the time, with 16 random digits after it or 18 before it. Random
# UUIDs have another version.
_TIMED = re.compile(
    r"[a-z]{1,16}_(?:[0-9a-f]{16}0[01]([0-9a-f]{8})[0-9a-f]{24}"
    r"|([0-9a-f]{8})[0-9a-f]{4}8[0-9a-f]{3}[89ab][0-9a-f]{15}(?:[0-9a-f]{16})?)\Z"
)
_SIGNATURE_CHARS = 30  # hexadecimal digits: 120 bits
_NUMBER_DIGITS = 6
# Marks a suffix that is a whole upstream id, for upstreams with other prefixes than OpenAI's, and the file id
# of a picture.
_FOREIGN = "~"
# 2024-01-01: the Responses API is younger, so an earlier number is not a time.
_EARLIEST = 1_704_067_200
_DAY_SECONDS = 86_400
# Begins the ids of conversations that the service keeps itself: OpenAI's have hexadecimal digits here.
_OWN = "conv_own"


class BadIdError(ValueError):
    """The id is malformed, forged or another owner's; services answer as for an unknown one."""


def created_at_of(upstream_id: str, *, now: float | None = None) -> int | None:
    """Return the unix time, in seconds, that OpenAI writes into its ids, or None.

    OpenAI does not document it. An id counts only if all of it has the form of the known ones: a prefix, and
    50 hex digits with the time after 18 of them, or 48 or 32 that begin with it; and only if the time lies
    between 2024 and tomorrow. Ids of other upstreams are random, and none of their digits is a time.
    """
    moment = _time_in(upstream_id)
    latest = (now if now is not None else time.time()) + _DAY_SECONDS
    return moment if moment is not None and _EARLIEST <= moment <= latest else None


@lru_cache(maxsize=4_096)
def _time_in(upstream_id: str) -> int | None:
    """Return the number in the place of the time; cached, as pages show the same ids again and again."""
    found = _TIMED.match(upstream_id)
    return int(found[1] or found[2], 16) if found else None


def new_conversation_id() -> str:
    """Return a new id of a conversation that the service keeps itself."""
    return _OWN + secrets.token_hex(16)


def is_own(conversation_id: str) -> bool:
    """Return whether the service keeps a conversation itself, and not the upstream."""
    return conversation_id.startswith(_OWN)


def new_id(prefix: str) -> str:
    """Return a new id of an item or response, with the time in the place where OpenAI has it."""
    digits = secrets.token_hex(12)
    return f"{prefix}_{int(time.time()):08x}{digits[:4]}8{digits[4:7]}8{digits[7:22]}"


class IdCodec:
    """Translates upstream ids into those of one owner, and back; the way back raises `BadIdError`.

    The first of `keys` signs, all verify; without keys, ids are not signed. `owner` is part of the signature
    but not of the id.
    """

    __slots__ = ("_keys", "_owner")

    def __init__(self, keys: Sequence[bytes] = (), owner: str = "") -> None:
        self._keys = tuple(keys)
        self._owner = owner.encode()

    def thread(self, conversation_id: str) -> str:
        """Return a conversation's thread id."""
        return "thread_" + self._seal("thread", _strip(conversation_id, "conv_"))

    def conversation(self, thread_id: str) -> str:
        """Return a thread's conversation id."""
        return _restore(self._open("thread", thread_id), "conv_")

    def run(self, response_id: str) -> str:
        """Return a response's run id."""
        return "run_" + self._seal("run", _strip(response_id, "resp_"))

    def response(self, run_id: str) -> str:
        """Return a run's response id."""
        return _restore(self._open("run", run_id), "resp_")

    def step(self, response_id: str, index: int) -> str:
        """Return the step id of a response's output item at `index`."""
        return "step_" + self._seal("step", f"{_strip(response_id, 'resp_')}.{index}")

    def output(self, step_id: str) -> tuple[str, int]:
        """Return a step's response id and output index."""
        suffix, _, index = self._open("step", step_id).rpartition(".")
        if not suffix or not index.isdigit():
            raise BadIdError(step_id)
        return _restore(suffix, "resp_"), int(index)

    def message(self, item_id: str) -> str:
        """Return an item's message id: the same id, signed if ids are signed."""
        return self._seal("message", item_id)

    def item(self, message_id: str) -> str:
        """Return a message's conversation item id."""
        return self._open_whole("message", message_id)

    def file(self, file_id: str, container_id: str | None = None) -> str:
        """Return an upstream file's public id, which includes its container's id, if any."""
        return self._seal("file", f"{file_id}.{container_id}" if container_id else file_id)

    def upstream_file(self, file_id: str) -> tuple[str, str | None]:
        """Return a file's upstream id and its container's id, if any."""
        if file_id.startswith(_FOREIGN):
            # A picture is no file of the upstream's.
            raise BadIdError(file_id)
        name, _, container = self._open_whole("file", file_id).partition(".")
        return name, container or None

    def picture(self, conversation_id: str, item_id: str, number: int) -> str | None:
        """Return the file id of a picture in a conversation item; None if the ids are too long for one."""
        suffix = f"{_FOREIGN}{_strip(conversation_id, 'conv_')}.{item_id}.{number}"
        sealed = self._seal("file", suffix)
        is_readable = _SUFFIX.match(sealed) and ".." not in sealed and "." not in item_id
        return sealed if is_readable else None

    def upstream_picture(self, file_id: str) -> tuple[str, str, int] | None:
        """Return a picture's conversation, item and number; None for the id of another file."""
        if not file_id.startswith(_FOREIGN):
            return None
        place, _, number = self._open_whole("file", file_id)[1:].rpartition(".")
        conversation, _, item_id = place.rpartition(".")
        if not (conversation and item_id and number.isdigit() and len(number) <= _NUMBER_DIGITS):
            raise BadIdError(file_id)
        return _restore(conversation, "conv_"), item_id, int(number)

    def _seal(self, kind: str, suffix: str) -> str:
        return f"{suffix}_{_sign(self._keys[0], kind, self._owner, suffix)}" if self._keys else suffix

    def _open(self, kind: str, client_id: str) -> str:
        prefix, _, rest = client_id.partition("_")
        if prefix != kind:
            raise BadIdError(client_id)
        return self._open_whole(kind, rest)

    def _open_whole(self, kind: str, sealed: str) -> str:
        return _opened(self._keys, self._owner, kind, sealed)


@lru_cache(maxsize=4_096)
def _opened(keys: tuple[bytes, ...], owner: bytes, kind: str, sealed: str) -> str:
    """Return a verified suffix without its signature; cached, as a chat sends the same thread id again."""
    if not _SUFFIX.match(sealed) or ".." in sealed:
        raise BadIdError(sealed)
    if not keys:
        return sealed
    suffix, _, signature = sealed.rpartition("_")
    valid = len(signature) == _SIGNATURE_CHARS and any(
        hmac.compare_digest(_sign(key, kind, owner, suffix), signature) for key in keys
    )
    if not suffix or not valid:
        raise BadIdError(sealed)
    return suffix


@lru_cache(maxsize=4_096)
def _sign(key: bytes, kind: str, owner: bytes, suffix: str) -> str:
    """Return an id's signature; cached, as one answer names the same run many times."""
    mac = _keyed(key).copy()
    mac.update(b"\0".join((kind.encode(), owner, suffix.encode())))
    return mac.hexdigest()[:_SIGNATURE_CHARS]


@lru_cache(maxsize=8)
def _keyed(key: bytes) -> hmac.HMAC:
    """Return a MAC that has hashed the key; cached, as every answer signs several ids with it."""
    return hmac.new(key, digestmod="sha256")


def _strip(upstream_id: str, prefix: str) -> str:
    return upstream_id[len(prefix) :] if upstream_id.startswith(prefix) else _FOREIGN + upstream_id


def _restore(suffix: str, prefix: str) -> str:
    return suffix[1:] if suffix.startswith(_FOREIGN) else prefix + suffix
