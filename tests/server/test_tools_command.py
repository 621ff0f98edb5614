"""`python main.py tools`: what it lists, and calls by hand."""

import json

import pytest

from main import main
from tests.support import own_logging

SOURCE = '''
import sys
from app.tools import Caller, ToolError, tool
print("imported")

@tool(timeout_seconds=2, approval="always", idempotent=True)
def weather(city: str, caller: Caller) -> dict:
    """Tell the weather."""
    print("called")
    if city == "Atlantis":
        raise ToolError("There is no such city.")
    return {"city": city, "user": caller.user_id}
'''
LISTED = """weather (2 s, asks for approval, idempotent, strict schema)
  Tell the weather.
  {
    "properties": {
      "city": {
        "type": "string"
      }
    },
    "additionalProperties": false,
    "required": [
      "city"
    ],
    "type": "object"
  }
"""


@pytest.fixture
def tools(tmp_path, monkeypatch, capsys):
    """Run the command with these arguments; its status, output, and last line of errors."""
    (tmp_path / "my_tools.py").write_text(SOURCE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TOOLS_MODULE", "my_tools.py")

    def command(*arguments):
        with own_logging():
            status = main(["tools", *arguments])
        told = capsys.readouterr()
        return status, told.out, (told.err.splitlines() or [""])[-1]

    return command


@pytest.mark.parametrize("arguments", [[], ["list"]])
def test_the_list_has_names_and_schemas(tools, arguments):
    status, out, _ = tools(*arguments)
    assert status == 0
    assert sorted(out) == sorted(LISTED)
    assert out.splitlines()[:2] == LISTED.splitlines()[:2]


def test_a_call_prints_the_output_alone(tools):
    status, out, last = tools("call", "weather", '{"city": "Busan"}', "--user", "ada")
    assert (status, json.loads(out)) == (0, {"city": "Busan", "user": "ada"})
    assert last.startswith("ok, 0.")
    assert last.endswith(" s")


@pytest.mark.parametrize(
    ("arguments", "out", "last"),
    [
        (["weather", '{"city": "Atlantis"}'], "There is no such city.\n", "error, "),
        (["weather"], "The arguments do not fit: city: Field required.\n", "bad_arguments, "),
        (["snow"], "There is no tool of this name.\n", "unknown, "),
    ],
)
def test_a_call_that_fails_has_status_1(tools, arguments, out, last):
    status, printed, told = tools("call", *arguments)
    assert (status, printed) == (1, out)
    assert told.startswith(last)


def test_no_tools_are_said_to_be_none(tools, monkeypatch):
    monkeypatch.delenv("TOOLS_MODULE")
    assert tools()[:2] == (0, "No tools: set TOOLS_FILE, or TOOLS_MODULE with functions marked @tool.\n")


def test_a_module_with_a_mistake_stops_it_in_one_line(tools, monkeypatch, capsys):
    monkeypatch.setenv("TOOLS_MODULE", "nowhere.py")
    with pytest.raises(SystemExit) as left:
        tools()
    assert left.value.code == 2
    assert capsys.readouterr().err == "TOOLS_MODULE=nowhere.py: there is no such file\n"
