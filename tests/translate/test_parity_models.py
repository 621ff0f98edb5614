"""docs/PARITY.md tells what becomes of every type that the newest Responses API has, and of no other."""

import re
from pathlib import Path
from typing import get_args

import pytest
from openai.types.responses import response_output_item, response_output_text, response_stream_event, tool

PARITY = (Path(__file__).resolve().parents[2] / "docs/PARITY.md").read_text()
UNIONS = {
    "output items": response_output_item.ResponseOutputItem,
    "events": response_stream_event.ResponseStreamEvent,
    "annotations": response_output_text.Annotation,
    "tools": tool.Tool,
}


def types_of(union):
    """The literals of `type` in an annotated union of models."""
    members = get_args(get_args(union)[0])
    return {kind for member in members for kind in get_args(member.model_fields["type"].annotation)}


def rows(name):
    """The types in the first column of a table."""
    _, _, text = PARITY.partition(f"## What becomes of the Responses API's {name}\n")
    table = text.partition("\n## ")[0]
    cells = re.findall(r"^\| (`[^|]*) \|", table, re.MULTILINE)
    return [kind for cell in cells for kind in re.findall(r"`([^`]+)`", cell)]


@pytest.mark.parametrize("name", UNIONS)
def test_table_has_every_type_once_and_no_other(name):
    named = rows(name)
    assert sorted(named) == sorted(types_of(UNIONS[name]))
