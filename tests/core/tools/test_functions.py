"""Functions of the operator's own file: what the model is told of them, and what stops a start."""

import pytest

from app.core.assistant import load_assistant
from app.core.tools.toolbox import Toolbox
from tests.core.tools.support import CALLER, HEAD, called, module, outcome, toolbox
from tests.support import make_settings

STRICT = """
from typing import Annotated, Literal
from pydantic import BaseModel, Field

class Place(BaseModel):
    city: str
    state: str | None = None

@tool
def weather(place: Place, unit: Annotated[Literal["c", "f"], Field(description="Celsius or not")]):
    '''Tell the weather.

    Now.
    '''
"""


def function(box, name):
    return box.get(name).spec["function"]


def test_signature_and_docstring_become_a_strict_schema(tmp_path):
    assert function(toolbox(tmp_path, STRICT), "weather") == {
        "name": "weather",
        "description": "Tell the weather.\n\nNow.",
        "strict": True,
        "parameters": {
            "type": "object",
            "$defs": {
                "Place": {
                    "title": "Place",
                    "type": "object",
                    "properties": {
                        "city": {"type": "string"},
                        "state": {"anyOf": [{"type": "string"}, {"type": "null"}]},
                    },
                    "required": ["city", "state"],
                    "additionalProperties": False,
                }
            },
            "properties": {
                "place": {"$ref": "#/$defs/Place"},
                "unit": {"description": "Celsius or not", "enum": ["c", "f"], "type": "string"},
            },
            "required": ["place", "unit"],
            "additionalProperties": False,
        },
    }


@pytest.mark.parametrize(
    "parameter", ["a: int = 3", "a: dict[str, int]", "a: dict", "a: object", "a: tuple[int, str]"]
)
def test_what_strict_mode_cannot_say_is_told_without_it(tmp_path, parameter):
    found = function(toolbox(tmp_path, f"@tool\ndef f({parameter}): ..."), "f")
    assert found["strict"] is False
    assert list(found["parameters"]["properties"]) == ["a"]


@pytest.mark.parametrize("annotation", ["Caller", "Caller | None", "'Caller'"])
async def test_the_caller_is_filled_and_out_of_reach(tmp_path, annotation):
    source = f"@tool\ndef who(caller: {annotation}, x: int | None = None): return caller.user_id"
    box = toolbox(tmp_path, source)
    assert list(function(box, "who")["parameters"]["properties"]) == ["x"]
    assert outcome(await called(box, "who")) == ("ok", CALLER.user_id)
    reached = await called(box, "who", '{"caller": {"user_id": "another"}}')
    assert outcome(reached) == (
        "bad_arguments",
        "The arguments do not fit: caller: Extra inputs are not permitted.",
    )


async def test_parameters_may_have_the_names_of_a_model(tmp_path):
    box = toolbox(
        tmp_path, "@tool\ndef f(schema: int, copy: int = 2, _x: int = 3): return [schema, copy, _x]"
    )
    assert outcome(await called(box, "f", '{"schema": "1", "_x": 4}')) == ("ok", "[1, 2, 4]")


async def test_defaults_may_be_fields_and_annotations_text(tmp_path):
    source = """
    from pydantic import Field
    @tool
    async def f(n: "int" = Field(3, ge=1)): return n
    """
    box = toolbox(tmp_path, source)
    assert outcome(await called(box, "f")) == ("ok", "3")
    assert (await called(box, "f", '{"n": 0}')).outcome == "bad_arguments"


def test_only_marked_functions_of_the_file_itself_are_taken(tmp_path):
    module(tmp_path, "@tool\ndef lent(): ...", "helper_of_tools.py")
    source = """
    from os import system
    from helper_of_tools import lent
    def helper(): ...
    @tool
    def own(): ...
    """
    assert toolbox(tmp_path, source).names == {"own"}


def test_options_come_before_settings(tmp_path):
    source = """
    @tool
    def plain(): ...
    @tool(name="named", timeout_seconds=2, approval="always", idempotent=True, visible="full")
    def other(): ...
    """
    box = toolbox(tmp_path, source, tool_timeout_seconds=7)
    found = [
        (each.name, each.timeout_seconds, each.needs_approval, each.is_idempotent, each.visible)
        for each in (box.get("plain"), box.get("named"))
        if each is not None
    ]
    assert found == [("plain", 7, False, False, None), ("named", 2, True, True, "full")]


def test_nothing_is_configured():
    box = Toolbox.load(make_settings())
    assert (box.specs, box.names, box.get("x")) == ([], frozenset(), None)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import nowhere",
            "cannot be imported: ModuleNotFoundError: No module named 'nowhere' (line 2 of m.py)",
        ),
        ("def f(:", "cannot be imported: SyntaxError: invalid syntax (line 2)"),
        ("raise SystemExit(3)", "cannot be imported: SystemExit: 3 (line 2 of m.py)"),
        (
            "@tool\nclass A: ...",
            "cannot be imported: TypeError: @tool marks functions, not type (line 2 of m.py)",
        ),
        ("@tool(approval='now')\ndef f(): ...", None),
        ("@tool(timeout_seconds=0)\ndef f(): ...", None),
        ("def f(): ...", "no function in it is marked with @tool or @guard (from app.tools)"),
        ("@tool\ndef f(a): ...", "the tool 'f': the parameter 'a' has no type"),
        ("@tool\ndef f(*a: int): ...", "the tool 'f': the parameter 'a' cannot be given by its name"),
        ("@tool\ndef f(a: 'Nowhere'): ...", None),
        ("class A: ...\n@tool\ndef f(a: A): ...", None),
        ("from typing import Callable\n@tool\ndef f(a: Callable[[], int]): ...", None),
        (
            "from pydantic import BaseModel\nclass A(BaseModel):\n    who: Caller\n@tool\ndef f(a: A): ...",
            "the tool 'f': a Caller has to be a parameter of its own",
        ),
        ("@tool\ndef f(): yield", "the tool 'f': it yields, and a tool returns"),
        ("@tool(name='a b')\ndef f(): ...", "the tool 'a b': a name has 1 to 64 letters, digits, _ or -"),
    ],
)
def test_what_cannot_be_a_tool_stops_the_start_in_one_line(tmp_path, source, message):
    file = module(tmp_path, source, "m.py")
    with pytest.raises(ValueError, match="TOOLS_MODULE=") as caught:
        Toolbox.load(make_settings(tools_module=file))
    assert str(caught.value).count("\n") == 0
    assert message is None or str(caught.value) == f"TOOLS_MODULE={file}{_colon(message)}{message}"


def _colon(message):
    return " " if message.startswith("cannot") else ": "


def test_a_name_stands_once(tmp_path):
    with pytest.raises(ValueError, match="two tools have the name 'f'; rename one"):
        toolbox(tmp_path, "@tool\ndef f(): ...\n@tool\ndef f(): ...")


@pytest.mark.parametrize("name", ["nope.py", "a/nope.py"])
def test_a_file_that_is_not_there(name):
    with pytest.raises(ValueError, match=f"TOOLS_MODULE={name}: there is no such file"):
        Toolbox.load(make_settings(tools_module=name))


async def test_a_dotted_module(tmp_path, monkeypatch):
    folder = tmp_path / "pack_of_tools"
    folder.mkdir()
    (folder / "__init__.py").touch()
    module(folder, "@tool\ndef f(): return 'found'")
    monkeypatch.syspath_prepend(str(tmp_path))
    box = Toolbox.load(make_settings(tools_module="pack_of_tools.my_tools"))
    assert outcome(await called(box, "f")) == ("ok", "found")


TWO = "@tool\ndef one(): ...\n@tool\ndef two(): ..."


@pytest.mark.parametrize(
    ("chosen", "offered"),
    [
        (None, ["one", "two"]),
        ("code_interpreter", ["code_interpreter", "one", "two"]),
        ("two", ["two"]),
        ("two,code_interpreter", ["code_interpreter", "two"]),
    ],
)
def test_the_assistant_has_all_tools_or_those_that_are_named(tmp_path, chosen, offered):
    box = toolbox(tmp_path, TWO)
    tools = load_assistant(make_settings(assistant_tools=chosen), box.specs).tools
    assert [tool.get("function", {}).get("name", tool["type"]) for tool in tools] == offered


@pytest.mark.parametrize("name", ["get_weather", "code_interpreter", "mcp_approval"])
def test_a_name_that_the_assistant_has_already(tmp_path, name):
    own = {"type": "function", "function": {"name": "get_weather"}}
    box = toolbox(tmp_path, f"@tool(name='{name}')\ndef f(): ...")
    with pytest.raises(ValueError, match=f"the assistant has a tool '{name}' already; remove or rename one"):
        load_assistant(make_settings(assistant_tools=[own]), box.specs)


async def test_clients_see_the_tools_of_the_assistant(tmp_path, start):
    file = module(tmp_path, TWO)
    async with start(tools_module=file, assistant_tools=None) as service:
        answer = await service.client.get("assistants/asst_soloist")
    assert [tool["function"]["name"] for tool in answer.json()["tools"]] == ["one", "two"]


def test_the_head_of_a_file_imports_nothing_else_of_the_service():
    import subprocess
    import sys

    shown = (
        "import sys; print([n for n in sys.modules if n.startswith('app') and n not in ('app', 'app.tools')])"
    )
    done = subprocess.run([sys.executable, "-c", HEAD + shown], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
