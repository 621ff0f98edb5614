"""UI_FILE: the operator's names, colours and words for the chat page and the widget."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from app.translate.events import Json
from app.utils.hosts import browser_origin, with_path
from app.utils.text_files import read_text

# What it holds travels with every page.
_MAX_PICTURE_CHARS = 100_000
_DATA_URL = re.compile(r"data:image/(png|jpeg|gif|webp|avif|svg\+xml);base64,[A-Za-z0-9+/]+={0,2}\Z")
_OWN_PATH = re.compile(r"/(?!/)[^\s\\]*\Z")
# Neither a declaration's end nor a scheme can be written with these.
_PLAIN = re.compile(r"[\w #%.,()'\"/+*-]+\Z")
_FUNCTION = re.compile(r"([\w-]*)\(")
# fmt: off
_FUNCTIONS = frozenset({
    "", "calc", "clamp", "color", "color-mix", "hsl", "hsla", "hwb", "lab", "lch", "light-dark", "max", "min",
    "oklab", "oklch", "rgb", "rgba",
})
# fmt: on
_REMEDIES = {
    "literal_error": "must be one of {expected}",
    "extra_forbidden": "is no key of this file; the keys are {keys}",
    "string_type": "write text in double quotes",
    "string_too_short": "is empty; write a text or leave the key out",
    "string_too_long": "write {max_length} characters at most",
    "string_pattern_mismatch": "write language tags, such as en or ko",
    "too_long": "write {max_length} at most",
    "too_short": "is empty; leave the key out",
    "list_type": 'write a list, such as ["a", "b"]',
    "bool_type": "write true or false",
    "model_type": "write a JSON object",
    "dict_type": "write a JSON object",
}


def _picture(url: str) -> str:
    if _DATA_URL.match(url) or _OWN_PATH.match(url):
        return url
    if url.startswith("https://") and not re.search(r"[\s\\]", url) and _origin_of(url):
        return url
    raise ValueError(
        "must be a whole https URL, a path of this host such as /logo.svg, or data:image/png;base64,…"
    )


def _origin_of(url: str) -> str | None:
    try:
        return browser_origin(with_path(url, ""))
    except ValueError:
        return None


def _css_value(text: str) -> str:
    is_plain = _PLAIN.match(text) and "/*" not in text and text.count("(") == text.count(")")
    is_whole = not text.count('"') % 2 and not text.count("'") % 2
    if not (is_plain and is_whole and {name.lower() for name in _FUNCTION.findall(text)} <= _FUNCTIONS):
        raise ValueError("is no plain CSS value; write one such as #0a7d5a, 8px or Georgia, serif")
    return text


Name = Annotated[str, Field(min_length=1, max_length=100)]
Words = Annotated[str, Field(min_length=1, max_length=2_000)]
Starter = Annotated[str, Field(min_length=1, max_length=300)]
Picture = Annotated[str, Field(max_length=_MAX_PICTURE_CHARS), AfterValidator(_picture)]
CssValue = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_css_value)]
Language = Annotated[str, Field(max_length=35, pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$")]
# fmt: off
# The CSS custom properties `--soloist-…`.
Property = Literal[
    "accent", "accent-text", "background", "surface", "input", "text", "muted", "border", "code", "link",
    "user", "user-text", "error", "error-text", "radius", "font", "font-size", "column",
]
# fmt: on


class UiFile(BaseModel):
    """The file; every key may be left out."""

    model_config = ConfigDict(extra="forbid", strict=True)

    title: Name | None = None
    logo: Picture | None = None
    avatar: Picture | None = None
    colours: dict[Property, CssValue] | None = None
    greeting: Words | None = None
    starters: Annotated[list[Starter], Field(max_length=12)] | None = None
    disclaimer: Words | None = None
    uploads: bool | None = None
    languages: Annotated[list[Language], Field(min_length=1, max_length=20)] | None = None
    on_disconnect: Literal["finish", "detach"] | None = None

    def public(self) -> Json:
        """Return what the pages get: every key, null where it is absent."""
        return self.model_dump()

    @property
    def picture_origins(self) -> list[str]:
        """The foreign origins that the pages load pictures from."""
        found = (_origin_of(url) for url in (self.logo, self.avatar) if url and url.startswith("https://"))
        return list(dict.fromkeys(filter(None, found)))


def load_ui(path: Path | None) -> UiFile:
    """Read a UI_FILE; without one, every key is absent. Raises `ValueError` with a line for each fault."""
    if path is None:
        return UiFile()
    try:
        return UiFile.model_validate_json(read_text(path, setting="UI_FILE"))
    except ValidationError as exc:
        lines = dict.fromkeys(_lines(path, exc.errors(include_url=False)))
        raise ValueError("\n".join(lines)) from exc


def _lines(path: Path, errors: list[ErrorDetails]) -> Iterator[str]:
    for error in errors:
        if error["type"] == "json_invalid":
            yield f"UI_FILE={path} is no JSON: {error['ctx']['error']}"
            continue
        place = ".".join(str(part) for part in error["loc"] if part != "[key]")
        template = _REMEDIES.get(error["type"])
        context: dict[str, Any] = error.get("ctx", {}) | {"keys": ", ".join(UiFile.model_fields)}
        remedy = template.format(**context) if template else error["msg"].removeprefix("Value error, ")
        yield f"UI_FILE={path}: {place or 'the whole'}: {remedy}"
