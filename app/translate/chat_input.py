"""Translates chat histories of frontends to upstream input items.

Reads four dialects, which the keys of each message tell apart: the AI SDK's UI messages (`parts`), the model
messages of react-data-stream and the messages of AG-UI (`content`, a string or parts), and deep-chat's
(`text`, role `ai`). Unknown keys are ignored, and so are messages with the roles `system` and `developer`,
since a browser must not choose the assistant's instructions. Every problem raises `InputError` with the path
of the field.
"""

from collections.abc import Iterator
from typing import Any

from app.translate.events import Json
from app.translate.protocols.encoder import dump_json
from app.utils.filenames import MEDIA_TYPES

_ROLES = {"user": "user", "assistant": "assistant", "ai": "assistant", "tool": "tool"}
_IGNORED_ROLES = frozenset({"system", "developer", "reasoning", "activity"})
_OUTPUT_STATES = {"output-available": "output", "output-error": "errorText"}
_OUTPUT_WRAPPERS = frozenset({"text", "json", "error-text", "error-json", "content"})
_EXTENSIONS = {media_type: extension for extension, media_type in MEDIA_TYPES.items()}
_EXTENSIONS["text/plain"] = ".txt"
_FILE_KINDS = frozenset({"file", "image", "binary", "document"})
_FILE_KEYS = ("url", "data", "image", "src", "value")
_BASE64 = ";base64,"
_SCHEME_CHARS = 16


class InputError(ValueError):
    """A field of the body has the wrong type or value.

    Attributes:
        message: what is wrong, and how to fix it.
        param: the path of the field, such as `messages[2].parts[0].url`.

    """

    def __init__(self, message: str, param: str) -> None:
        super().__init__(message)
        self.message = message
        self.param = param


class _Message:
    """A message of the history: its path, its role, and its parts in any dialect."""

    def __init__(self, path: str, role: str, body: Json) -> None:
        self.path = path
        self.role = role
        self.body = body
        self.is_ui = isinstance(body.get("parts"), list)

    def parts(self) -> Iterator[tuple[str, Json]]:
        """Yield each part with its path; a string is one text part."""
        key = "parts" if self.is_ui else "content" if self.body.get("content") is not None else "text"
        value = self.body.get(key)
        if isinstance(value, str):
            yield f"{self.path}.{key}", {"type": "text", "text": value}
        elif isinstance(value, list):
            for index, part in enumerate(value):
                yield f"{self.path}.{key}[{index}]", _object(part, f"{self.path}.{key}[{index}]")
        elif value is not None:
            raise InputError("Expected a string or a list of parts.", f"{self.path}.{key}")
        for index, file in enumerate(_list(self.body.get("files"), f"{self.path}.files")):
            path = f"{self.path}.files[{index}]"
            yield path, {**_object(file, path), "type": "file"}


def history_items(messages: object, *, brings_files: bool = False) -> list[Json]:
    """Return a whole history as input items for a new conversation.

    Calls without an output, and outputs without a call, are left out, since the upstream refuses them. Raises
    `InputError` unless `messages` is a list that ends with a user's message or with tool results. The last
    message may be empty if it `brings_files`, which come apart from it.
    """
    read = _read(messages)
    items = _paired([item for m in read for item in _items(m, may_be_empty=brings_files and m is read[-1])])
    if not any(item.get("role") == "user" for item in items):
        raise InputError("There is no user message. Send at least one.", "messages")
    if items[-1].get("role") == "assistant":
        raise InputError("The last message must be the user's, or carry tool results.", "messages")
    return items


def last_user_items(messages: object, *, brings_files: bool = False) -> list[Json]:
    """Return what follows the assistant's last message, for a thread that has the rest.

    That is the new tool results and the last user message, which may be empty if it `brings_files`. Raises
    `InputError` if there is neither.
    """
    read = _read(messages)
    last = max((index for index, message in enumerate(read) if message.role == "assistant"), default=-1)
    new = read[last + 1 :]
    items = list(_ui_outputs(read[last])) if last >= 0 else []
    items += [item for message in new if message.role == "tool" for item in _tool_items(message)]
    asked = [message for message in new if message.role == "user"]
    items += [_user_item(message, may_be_empty=brings_files) for message in asked[-1:]]
    if not items:
        raise InputError("There is nothing new: end with a user message or with tool results.", "messages")
    return items


def continued_message_id(messages: object) -> str | None:
    """Return the id of the assistant message that ends a UI history, which the answer extends."""
    read = _read(messages)
    found = read[-1].body.get("id") if read and read[-1].is_ui and read[-1].role == "assistant" else None
    return found if isinstance(found, str) and found else None


def _read(messages: object) -> list[_Message]:
    if not isinstance(messages, list) or not messages:
        raise InputError("Expected a list with at least one message.", "messages")
    found = []
    for index, raw in enumerate(messages):
        path = f"messages[{index}]"
        message = _object(raw, path)
        role = message.get("role")
        if not isinstance(role, str) or (role not in _ROLES and role not in _IGNORED_ROLES):
            raise InputError("Unknown role. Use `user`, `assistant` or `tool`.", f"{path}.role")
        if role in _ROLES:
            found.append(_Message(path, _ROLES[role], message))
    return found


def _items(message: _Message, *, may_be_empty: bool) -> Iterator[Json]:
    if message.role == "user":
        yield _user_item(message, may_be_empty=may_be_empty)
    elif message.role == "tool":
        yield from _tool_items(message)
    else:
        yield from _assistant_items(message)


def _paired(items: list[Json]) -> list[Json]:
    called = {item["call_id"] for item in items if item["type"] == "function_call"}
    answered = {item["call_id"] for item in items if item["type"] == "function_call_output"}
    return [item for item in items if "call_id" not in item or item["call_id"] in called & answered]


def _user_item(message: _Message, *, may_be_empty: bool) -> Json:
    content = [item for path, part in message.parts() for item in _user_content(path, part)]
    if not content and not may_be_empty:
        raise InputError("The message is empty. Send text or a file.", message.path)
    return {"type": "message", "role": "user", "content": content}


def _user_content(path: str, part: Json) -> Iterator[Json]:
    kind = str(part.get("type"))
    if kind == "text":
        text = _string(part, "text", path)
        # Frontends send an empty text beside a file; an empty part would be refused upstream.
        if text.strip():
            yield {"type": "input_text", "text": text}
    elif kind in _FILE_KINDS:
        yield _file(path, part)
    # The AI SDK's data parts are for the page, never for the model.
    elif not kind.startswith("data-"):
        raise InputError("Unsupported part type. Use `text`, `image` or `file`.", f"{path}.type")


def _assistant_items(message: _Message) -> Iterator[Json]:
    for path, part in message.parts():
        kind = str(part.get("type"))
        if kind == "text":
            text = _string(part, "text", path)
            if text.strip():
                yield _said(text)
        elif message.is_ui:
            yield from _ui_call(path, part)
        elif kind == "tool-call":
            arguments = part.get("input", part.get("args", {}))
            yield _call(_string(part, "toolCallId", path), _string(part, "toolName", path), arguments)
    for index, call in enumerate(_list(message.body.get("toolCalls"), f"{message.path}.toolCalls")):
        yield _ag_ui_call(f"{message.path}.toolCalls[{index}]", call)


def _said(text: str) -> Json:
    return {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": text}]}


def _ag_ui_call(path: str, raw: object) -> Json:
    call = _object(raw, path)
    function = _object(call.get("function"), f"{path}.function")
    name = _string(function, "name", f"{path}.function")
    return _call(_string(call, "id", path), name, function.get("arguments") or "{}")


def _ui_call(path: str, part: Json) -> Iterator[Json]:
    if _is_client_call(part):
        name = part["type"].removeprefix("tool-")
        name = _string(part, "toolName", path) if name == "dynamic-tool" else name
        yield _call(_string(part, "toolCallId", path), name, part.get("input") or {})
        yield from _ui_output(path, part)


def _ui_output(path: str, part: Json) -> Iterator[Json]:
    key = _OUTPUT_STATES.get(str(part.get("state")))
    if key:
        yield _output(_string(part, "toolCallId", path), part.get(key))


def _ui_outputs(message: _Message) -> Iterator[Json]:
    """Yield the results in the last step of a message; the assistant has answered earlier steps."""
    parts = list(message.parts()) if message.is_ui else []
    start = max(
        (index for index, (_, part) in enumerate(parts) if part.get("type") == "step-start"), default=-1
    )
    for path, part in parts[start + 1 :]:
        if _is_client_call(part):
            yield from _ui_output(path, part)


def _is_client_call(part: Json) -> bool:
    kind = str(part.get("type"))
    return (kind == "dynamic-tool" or kind.startswith("tool-")) and part.get("providerExecuted") is not True


def _tool_items(message: _Message) -> Iterator[Json]:
    if "toolCallId" in message.body:
        texts = [str(part.get("text", "")) for _, part in message.parts() if part.get("type") == "text"]
        error = message.body.get("error")
        yield _output(_string(message.body, "toolCallId", message.path), "\n".join(texts) or error or "")
        return
    for path, part in message.parts():
        if part.get("type") != "tool-result":
            raise InputError("A tool message holds parts of type `tool-result`.", f"{path}.type")
        output = part.get("output", part.get("result"))
        if isinstance(output, dict) and str(output.get("type")) in _OUTPUT_WRAPPERS and "value" in output:
            output = output["value"]
        yield _output(_string(part, "toolCallId", path), output)


def _call(call_id: str, name: str, arguments: Any) -> Json:
    return {"type": "function_call", "call_id": call_id, "name": name, "arguments": _as_text(arguments)}


def _output(call_id: str, output: Any) -> Json:
    return {"type": "function_call_output", "call_id": call_id, "output": _as_text(output)}


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else dump_json(value).decode()


def _file(path: str, part: Json) -> Json:
    """Read a file part: AG-UI has its content in `source`, the others in `url`, `data`, `image` or `src`."""
    if "source" in part:
        path, holder = f"{path}.source", _object(part["source"], f"{path}.source")
    else:
        holder = part
    key = next((key for key in _FILE_KEYS if key in holder), _FILE_KEYS[0])
    fallback = "image/png" if part["type"] == "image" else None
    media_type = holder.get("mediaType") or holder.get("mimeType") or fallback
    name = part.get("filename") or part.get("name")
    return _file_item(f"{path}.{key}", _string(holder, key, path), media_type, name)


def _file_item(path: str, value: str, media_type: object, name: object) -> Json:
    """Return the item for a data URL, the http(s) URL of an image, or plain base64 with a media type."""
    is_web = value.startswith(("https://", "http://"))
    if value.startswith("data:"):
        media_type = value[len("data:") :].partition(_BASE64)[0].partition(";")[0] or media_type
    # A colon near the start is the scheme of a URL, which base64 never has.
    elif not is_web and ":" not in value[:_SCHEME_CHARS]:
        value = f"data:{media_type}{_BASE64}{value}"
    if not isinstance(media_type, str) or "/" not in media_type:
        raise InputError("The media type of the file is missing.", path)
    is_image = media_type.startswith("image/")
    if not (value.startswith("data:") and _BASE64 in value) and not (is_web and is_image):
        raise InputError("Send a base64 data URL; only images may be given by an http(s) URL.", path)
    if is_image:
        return {"type": "input_image", "image_url": value, "detail": "auto"}
    # The upstream tells the type of a file by its name.
    name = name if isinstance(name, str) and name else "file" + _EXTENSIONS.get(media_type, "")
    return {"type": "input_file", "filename": name, "file_data": value}


def _string(holder: Json, key: str, path: str) -> str:
    value = holder.get(key)
    if not isinstance(value, str):
        raise InputError("Expected a string.", f"{path}.{key}")
    return value


def _object(value: object, path: str) -> Json:
    if not isinstance(value, dict):
        raise InputError("Expected an object.", path)
    return value


def _list(value: object, path: str) -> list[Any]:
    if value is not None and not isinstance(value, list):
        raise InputError("Expected a list.", path)
    return value or []
