"""The embedded upstream's pure parts: example arguments, passages, sections, filters, tokens."""

import pytest

from app.embedded.documents import Document
from app.embedded.responders.arguments import example_arguments
from app.embedded.responders.sections import SectionIndex, excerpt, sections_of
from app.embedded.responders.tokens import tokens_of
from app.embedded.store.attribute_filter import matches
from app.embedded.store.passages import split_passages


def _document(text, tmp_path):
    return Document("file-x", "README.md", tmp_path / "README.md", text, 0)


@pytest.mark.parametrize(
    ("schema", "example"),
    [
        (None, {}),
        ({"type": "object"}, {}),
        ({"type": "object", "properties": {"a": {"type": "string"}}}, {"a": "some a"}),
        ({"properties": {"a": {"enum": ["x", "y"]}, "b": {"const": 3}}}, {"a": "x", "b": 3}),
        ({"properties": {"a": {"anyOf": [{"type": "null"}, {"type": "string"}]}}}, {"a": None}),
        ({"properties": {"a": {"type": ["integer", "null"], "minimum": 7}}}, {"a": 7}),
        (
            {"properties": {"a": {"type": "array", "items": {"type": "boolean"}, "minItems": 2}}},
            {"a": [True] * 2},
        ),
        (
            {"properties": {"a": {"type": "object", "properties": {"b": {"default": 5}}}}, "required": ["a"]},
            {"a": {"b": 5}},
        ),
        ({"properties": 3, "required": "x"}, {}),
        ({"type": "array", "minItems": "many"}, {}),
    ],
)
def test_example_arguments_satisfy_the_schema(schema, example):
    assert example_arguments(schema) == example


def test_endless_schemas_end():
    schema = {"type": "object", "properties": {}, "required": ["self"]}
    schema["properties"] = {"self": schema}
    assert "self" in example_arguments(schema)


@pytest.mark.parametrize(
    "text", ["", "a", "You said: hi", "  two  spaces\n\nlines ", "안녕, 세상!", "a.b(c)"]
)
def test_tokens_join_to_the_text(text):
    assert "".join(tokens_of(text)) == text


def test_passages_hold_every_word_and_stay_short():
    text = "\n\n".join([*(f"paragraph {at} " + "w " * 40 for at in range(30)), "x" * 3000, "y z " * 700])
    passages = list(split_passages(text))
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert max(map(len, passages)) <= 1000


def test_headings_in_code_are_none(tmp_path):
    text = "# A\n\none\n\n```sh\n# not a heading\n```\n\n## B ##\n\ntwo\n\n# C\n"
    found = [(one.trail, one.heading) for one in sections_of(_document(text, tmp_path))]
    assert found == [("", "A"), ("A", "B")]


def test_a_long_table_is_cut_to_its_head_and_the_rows_that_match(tmp_path):
    rows = "\n".join(
        f"| `SETTING_{at}` | default | what setting {at} does at some length |" for at in range(80)
    )
    text = f"# Settings\n\n| name | default | does |\n|---|---|---|\n{rows}\n| `COLOUR` | red | paints |\n"
    (section,) = sections_of(_document(text, tmp_path))
    assert excerpt(section, ["colour"]).splitlines() == [
        "| name | default | does |",
        "|---|---|---|",
        "| `COLOUR` | red | paints |",
    ]


def test_a_code_block_comes_with_the_sentence_that_announces_it(tmp_path):
    filler = "Filler about nothing at all. " * 40
    text = f"# T\n\n{filler}\n\nPaint it so:\n\n```sh\npaint --colour red\n```\n"
    (section,) = sections_of(_document(text, tmp_path))
    assert excerpt(section, ["paint", "colour"]) == "Paint it so:\n\n```sh\npaint --colour red\n```"


def test_words_that_nothing_holds_find_nothing(tmp_path):
    index = SectionIndex([_document("# T\n\nsome text", tmp_path)])
    assert index.search("xylophone") == []
    assert index.search("how do I?") == []
    index.close()


@pytest.mark.parametrize(
    ("condition", "verdict"),
    [
        ({"type": "eq", "key": "a", "value": 1}, True),
        ({"type": "gt", "key": "a", "value": 1}, False),
        ({"type": "gt", "key": "a", "value": "text"}, False),
        ({"type": "in", "key": "a", "value": [1, 2]}, True),
        ({"type": "nin", "key": "b", "value": [1]}, True),
        ({"type": "eq", "key": "b", "value": None}, False),
        (
            {
                "type": "and",
                "filters": [
                    {"type": "gte", "key": "a", "value": 1},
                    {"type": "or", "filters": [{"type": "eq", "key": "b", "value": 2}]},
                ],
            },
            False,
        ),
    ],
)
def test_filters_judge_attributes(condition, verdict):
    assert matches(condition, {"a": 1}) is verdict
