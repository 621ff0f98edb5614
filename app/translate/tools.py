"""Translates tools, tool choice and response formats between the Assistants and Responses APIs."""

from app.translate.attachments import file_ids_of, store_ids_of
from app.translate.events import Json


def current_tool(tool: Json) -> Json:
    """Return an Assistants tool under its last name: `file_search` was `retrieval` in version 1."""
    return tool | {"type": "file_search"} if tool.get("type") == "retrieval" else tool


def to_responses_tools(tools: list[Json], resources: Json) -> list[Json]:
    """Translate Assistants `tools` and `tool_resources` to Responses tools.

    Functions are flattened, `file_search` gets its vector store ids, `code_interpreter` an automatic
    container with its file ids. Other types stay unchanged. Source: OpenAI's Assistants migration guide.
    """
    return [_to_responses_tool(tool, resources) for tool in tools]


def _to_responses_tool(tool: Json, resources: Json) -> Json:
    kind = tool.get("type")
    if kind == "function" and isinstance(tool.get("function"), dict):
        # The Assistants API allowed both keys to be absent; the Responses API requires them.
        required = {"parameters": {"type": "object", "properties": {}}, "strict": False}
        return {"type": "function", **required, **tool["function"]}
    if kind == "file_search":
        stores = tool.get("vector_store_ids") or store_ids_of(resources)
        return {**_file_search_options(tool), "vector_store_ids": stores}
    if kind == "code_interpreter":
        files = file_ids_of(resources)
        container = tool.get("container") or {"type": "auto", **({"file_ids": files} if files else {})}
        return {**tool, "container": container}
    return dict(tool)


def _file_search_options(tool: Json) -> Json:
    """Return the options of a search, which the Assistants API nested and the Responses API does not."""
    inner = tool.get("file_search")
    given = tool | inner if isinstance(inner, dict) else tool
    known = ("filters", "max_num_results", "ranking_options")
    return {"type": "file_search"} | {key: given[key] for key in known if given.get(key) is not None}


def to_assistants_tools(tools: object) -> list[Json]:
    """Translate Responses tools to the nested Assistants form."""
    found = tools if isinstance(tools, list) else []
    return [_to_assistants_tool(tool) for tool in found if isinstance(tool, dict)]


def _to_assistants_tool(tool: Json) -> Json:
    kind = tool.get("type")
    if kind == "function":
        return {"type": "function", "function": {key: value for key, value in tool.items() if key != "type"}}
    if kind in {"file_search", "code_interpreter"}:
        return {"type": kind}
    return dict(tool)


def to_responses_choice(choice: str | Json) -> str | Json:
    """Translate `tool_choice`; the name of a function moves to the top level."""
    if isinstance(choice, dict) and isinstance(choice.get("function"), dict):
        return {"type": "function", "name": choice["function"].get("name", "")}
    return choice


def to_assistants_choice(choice: object) -> str | Json:
    """Translate a Responses `tool_choice` back; an absent one is `auto`."""
    if isinstance(choice, dict):
        if choice.get("type") == "function" and "name" in choice:
            return {"type": "function", "function": {"name": choice["name"]}}
        return choice
    return choice if isinstance(choice, str) else "auto"


def to_text_format(response_format: str | Json) -> Json:
    """Translate `response_format` to `text.format`; `auto` is plain text."""
    if isinstance(response_format, str):
        return {"type": "text"}
    if response_format.get("type") == "json_schema" and isinstance(response_format.get("json_schema"), dict):
        return {"type": "json_schema", **response_format["json_schema"]}
    return dict(response_format)


def to_response_format(text: object) -> str | Json:
    """Translate `text.format` back; plain text is `auto`."""
    found = text.get("format") if isinstance(text, dict) else None
    if not isinstance(found, dict) or found.get("type") in {None, "text"}:
        return "auto"
    if found["type"] == "json_schema":
        return {"type": "json_schema", "json_schema": {k: v for k, v in found.items() if k != "type"}}
    return found
