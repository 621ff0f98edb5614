"""Ids shaped like OpenAI's: a prefix, 16 hex, `00`, 8 hex of unix time, 24 hex."""

import secrets
import string
import time

_ALNUM = string.ascii_letters + string.digits
_STEM_HEX = 16
_RANDOM_HEX = 32


def timed_id(prefix: str, stem: str | None = None) -> str:
    """A fresh id such as `conv_…` with 50 hex; `stem` (16 hex) marks what belongs to one response."""
    return f"{prefix}_{_suffix(stem or secrets.token_hex(8))}"


def random_id(prefix: str) -> str:
    """A fresh id that holds no time, such as `resp_…` with 32 hex."""
    return hex_id(prefix, _RANDOM_HEX)


def item_id(prefix: str, response_id: str) -> str:
    """A fresh id of the response's kind; a timed one shares the response's stem."""
    _, _, suffix = response_id.partition("_")
    return random_id(prefix) if len(suffix) == _RANDOM_HEX else timed_id(prefix, suffix[:_STEM_HEX])


def _suffix(stem: str) -> str:
    return f"{stem}00{int(time.time()):08x}{secrets.token_hex(12)}"


def alnum_id(prefix: str) -> str:
    """`prefix` and 24 letters or digits, as in `call_…` and `file-…`."""
    return prefix + "".join(secrets.choice(_ALNUM) for _ in range(24))


def hex_id(prefix: str, hex_digits: int) -> str:
    """`prefix_` and so many hex digits, as in `vs_…` and `cfile_…`."""
    return f"{prefix}_{secrets.token_hex(hex_digits // 2)}"
