"""What a thread told about the person: `my X is Y`, in English and Korean, and questions for it."""

import re
from collections.abc import Iterable
from dataclasses import dataclass

_TOLD = (
    re.compile(
        r"\bmy (?P<what>[a-z][a-z -]{0,30}?)(?: is|'s|’s| are) (?P<value>[^.!?,;\n]{1,80})", re.IGNORECASE
    ),
    re.compile(r"\b(?:i am called|i'm called|call me) (?P<value>[^.!?,;\n]{1,40})", re.IGNORECASE),
)
_MY_KOREAN = r"(?:내|제|나의|저의)\s*(?P<what>[가-힣]{1,8}?)\s?"
_TOLD_KOREAN = re.compile(
    _MY_KOREAN + r"(?:은|는|이|가)\s+(?P<value>[^.!?,\n]{1,40}?)"
    r"(?:(?:이)?라고 (?:합니다|해요|해)|입니다|이에요|예요|에요|이야|야|다|요)?\s*(?:[.!,\n]|$)"
)
_ASKED = re.compile(
    r"(?:\b(?:what|who|where|when|which|tell me|remind me|remember|know|say)\b|\bhow old\b).*?"
    r"\bmy (?P<what>[a-z][a-z -]{0,30}?)(?: is| are| was| again)*\s*[?.!]*\s*$",
    re.IGNORECASE,
)
_ASKED_WHO = re.compile(r"\bwho am i\b|\bdo you (?:know|remember) me\b", re.IGNORECASE)
_ASKED_KOREAN = re.compile(
    _MY_KOREAN + r"(?:은|는|이|가|을|를)?\s*(?:뭐|뭔|무엇|누구|어디|언제|몇|기억|알고|아니\?|알아|말해)"
)
_ENGLISH = {
    "이름": "name", "성함": "name", "나이": "age", "직업": "job", "도시": "city", "생일": "birthday",
    "이메일": "email", "취미": "hobby", "회사": "company", "나라": "country", "색": "favourite colour",
}  # fmt: skip
_KOREAN = {english: korean for korean, english in reversed(_ENGLISH.items())}


@dataclass(frozen=True, slots=True)
class Fact:
    """One thing told, or asked for when `value` is empty."""

    what: str
    value: str

    @property
    def korean(self) -> str:
        """What it is about, in Korean where known."""
        return _KOREAN.get(self.what, self.what)


def told_facts(texts: Iterable[str]) -> dict[str, Fact]:
    """Facts of some messages by what they are about; the latest wins."""
    return {fact.what: fact for text in texts for fact in _facts(text)}


def _facts(text: str) -> Iterable[Fact]:
    if asked_fact(text) is not None:
        return
    for pattern in (*_TOLD, _TOLD_KOREAN):
        for found in pattern.finditer(text):
            value = found.group("value").strip().strip("\"'")
            what = found.groupdict().get("what") or "name"
            if value:
                yield Fact(_canonical(what), value)


def asked_fact(text: str) -> str | None:
    """What a question wants to be reminded of, None if it asks for no such thing."""
    if _ASKED_WHO.search(text):
        return "name"
    found = _ASKED.search(text) or _ASKED_KOREAN.search(text)
    return _canonical(found.group("what")) if found else None


def _canonical(what: str) -> str:
    name = " ".join(what.lower().split())
    return _ENGLISH.get(name, name.replace("favorite", "favourite").replace("color", "colour"))
