"""The title of a thread is its first question: one line, whole words, about 80 characters."""

import pytest

from app.translate.attachments import Attached, with_files
from app.translate.titles import one_line, title_of
from app.utils.ids import IdCodec


def question(*texts, role="user"):
    parts = [{"type": "input_text", "text": text} for text in texts]
    return {"type": "message", "role": role, "content": parts}


@pytest.mark.parametrize(
    ("text", "title"),
    [
        ("What is a thread?", "What is a thread?"),
        ("  two\n\n lines\there ", "two lines here"),
        ("a\x00b\u202e\u200bc", "abc"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 79 + "…"),
        ("word " * 30, "word " * 15 + "word…"),
        ("a " + "x" * 100, "a " + "x" * 77 + "…"),
        ("长" * 100, "长" * 79 + "…"),
        ("   ", None),
    ],
)
def test_it_is_one_short_line(text, title):
    assert title_of([question(text)]) == title
    assert title is None or len(title) <= 80


def test_the_first_question_counts():
    items = [question("rules", role="system"), question("", " "), question("one", "more"), question("two")]
    assert title_of(items) == "one"
    assert title_of([question("answer", role="assistant")]) is None
    assert title_of([{"role": "user", "content": "plain"}]) == "plain"


def test_a_list_of_files_is_no_question():
    files = [Attached("file-1", "a.txt")]
    assert title_of([with_files(question(), files, IdCodec())]) is None
    assert title_of([with_files(question("look"), files, IdCodec())]) == "look"


@pytest.mark.parametrize("items", [None, [], "text", [None], [{"type": "function_call_output"}]])
def test_what_asks_nothing_has_none(items):
    assert title_of(items) is None


def test_one_line_keeps_every_word():
    assert one_line("a\r\nb  c") == "a b c"
