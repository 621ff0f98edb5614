"""Every error code of the service has a sentence, and every language has every sentence, with its places."""

import ast
import re
from collections.abc import Iterator

import pytest

from app.translate import failures
from tests.web.conftest import WEB

APP = WEB.parent / "app"
WORDS = WEB / "src" / "words"
LANGUAGES = sorted(path.stem for path in (WORDS / "languages").glob("*.ts"))
_ENTRY = re.compile(
    r"^  (?P<key>\w+):\s*(?P<quote>['\"`])(?P<text>.*?)(?<!\\)(?P=quote),$", re.MULTILINE | re.DOTALL
)
_GROUP = re.compile(r"^export const (words|failures)\b.*?^};$", re.MULTILINE | re.DOTALL)
_PLACE = re.compile(r"\{\w+\}")


def entries(language: str, group: str) -> dict[str, str]:
    """Return what a language says under each key of `words` or `failures`."""
    text = (WORDS / "languages" / f"{language}.ts").read_text()
    [found] = [match.group() for match in _GROUP.finditer(text) if match.group(1) == group]
    return {match["key"]: match["text"] for match in _ENTRY.finditer(found)}


def spoken_codes() -> dict[str, str]:
    """Return the key of the sentence for each code that the page knows."""
    text = re.sub(r"' \+\s+'", "", (WORDS / "codes.ts").read_text())
    groups = re.findall(r"^  (\w+):\s+'([^']*)',$", text, re.MULTILINE)
    return {code: kind for kind, codes in groups for code in codes.split()}


def codes_of(tree: ast.AST) -> Iterator[str]:
    """Yield codes that a module names: `code="…"`, `code = "…"` and `"code": "…"`."""
    for node in ast.walk(tree):
        match node:
            case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                yield code
            case ast.Assign(targets=[ast.Name(id="code")], value=ast.Constant(value=str(code))):
                yield code
            case ast.AnnAssign(target=ast.Name(id="code"), value=ast.Constant(value=str(code))):
                yield code
            case ast.Dict(keys=keys, values=values):
                pairs = zip(keys, values, strict=True)
                for key, value in pairs:
                    if (
                        isinstance(key, ast.Constant)
                        and key.value == "code"
                        and isinstance(value, ast.Constant)
                    ):
                        yield str(value.value)


def server_codes() -> set[str]:
    """Return all codes of the service; those of the embedded upstream come through the table of failures."""
    paths = [path for path in APP.rglob("*.py") if "embedded" not in path.parts]
    named = {code for path in paths for code in codes_of(ast.parse(path.read_text()))}
    tabled = {found.code for found in vars(failures).values() if isinstance(found, failures.Failure)}
    return named | tabled | set(failures._BY_CODE)


def test_every_code_of_the_service_has_a_sentence():
    codes = server_codes()
    assert {"not_found", "thread_busy", "server_error", "bio_policy", "expired"} <= codes
    assert sorted(codes - set(spoken_codes())) == []


def test_every_code_of_the_page_has_a_sentence_in_english():
    assert sorted(set(spoken_codes().values()) - set(entries("en", "failures"))) == []


@pytest.mark.parametrize("group", ["words", "failures"])
@pytest.mark.parametrize("language", LANGUAGES)
def test_every_language_says_everything(language: str, group: str):
    english, other = entries("en", group), entries(language, group)
    assert len(english) > 20
    assert sorted(english) == sorted(other)
    assert [key for key, text in other.items() if not text.strip()] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_place_of_english_stands_in_each_language(language: str):
    english, other = entries("en", "words"), entries(language, "words")
    places = {key: sorted(_PLACE.findall(text)) for key, text in english.items()}
    assert {key: sorted(_PLACE.findall(text)) for key, text in other.items()} == places
    assert any(places.values())
