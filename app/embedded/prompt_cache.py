"""What a real upstream's prompt cache would hold: the beginning that a prompt shares with the one before."""

from collections import OrderedDict

from app.embedded.items import text_of
from app.embedded.responders.base import Turn

CHARS_PER_TOKEN = 4
_LEAST_TOKENS = 1_024
_STEP_TOKENS = 128
_MOST_PROMPTS = 256


class PromptCache:
    """The newest prompts by `prompt_cache_key`; OpenAI caches from 1,024 tokens on, in steps of 128."""

    def __init__(self) -> None:
        self._prompts: OrderedDict[str, str] = OrderedDict()

    def cached_tokens(self, turn: Turn, key: str | None) -> int:
        """Return how many tokens a turn shares with the one before it, and remember it."""
        prompt = (turn.instructions or "") + "".join(map(text_of, turn.items))
        name = key or ""
        shared = _shared_chars(self._prompts.get(name, ""), prompt)
        self._prompts[name] = prompt
        self._prompts.move_to_end(name)
        if len(self._prompts) > _MOST_PROMPTS:
            self._prompts.popitem(last=False)
        tokens = shared // CHARS_PER_TOKEN
        return tokens // _STEP_TOKENS * _STEP_TOKENS if tokens >= _LEAST_TOKENS else 0


def _shared_chars(one: str, other: str) -> int:
    """Return how many characters two texts have in common at their beginnings."""
    least, most = 0, min(len(one), len(other))
    while least < most:
        middle = (least + most + 1) // 2
        if one[least:middle] == other[least:middle]:
            least = middle
        else:
            most = middle - 1
    return least
