"""Compares JSON from the wire with the typed models of whichever openai-python is installed, field by field.

The SDKs build their models without validation, so a field that is missing or of the wrong type shows up late,
in the user's program. Runs with any openai-python from 1.30 on, and needs nothing else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from typing import Annotated, Any, Literal, Required, Union, get_args, get_origin

from pydantic import BaseModel
from typing_extensions import get_type_hints, is_typeddict

_MODULES = ("", ".beta", ".beta.threads", ".beta.threads.runs", ".vector_stores", ".beta.vector_stores")
_DISCRIMINATORS = ("type", "event", "object")
# Kinds that the Assistants API did not have, or only got after some SDKs were published.
_NEWER_KINDS = {"url_citation", "refusal", "thread.run.incomplete"}
# The types allow these to be absent, and OpenAI itself left them out.
_NOT_ALWAYS_SENT = {"attributes", "enabled", "status_details"}
_LISTS: tuple[Any, ...] = (list, Iterable, Sequence)
_PRIMITIVES: dict[Any, tuple[type, ...]] = {str: (str,), bool: (bool,), int: (int,), float: (int, float)}


def model(name: str) -> Any:
    """Return a model by its name, wherever this version keeps it."""
    for place in _MODULES:
        try:
            found = getattr(import_module(f"openai.types{place}"), name, None)
        except ModuleNotFoundError:
            continue
        if found is not None:
            return found
    raise LookupError(name)


def object_faults(kind: str, value: Any) -> list[str]:
    """What is wrong with a whole object: wrong types, and keys that are not there, null or not."""
    fields = model(kind).model_fields
    absent = [
        f"{kind}.{name}: absent"
        for name, field in fields.items()
        if name not in value and not field.is_required() and name not in _NOT_ALWAYS_SENT
    ]
    return [*faults(model(kind), value, kind), *absent]


def faults(kind: Any, value: Any, path: str) -> list[str]:
    """What is wrong with a value of a type: required fields that are missing, and wrong types."""
    kind = _bare(kind)
    origin: Any = get_origin(kind)
    if origin is Literal:
        return [] if value in get_args(kind) else [f"{path}: {value!r} is none of {get_args(kind)}"]
    if origin in _LISTS:
        return _list_faults(get_args(kind)[0], value, path)
    if origin in {dict, Mapping}:
        return [] if isinstance(value, dict) else [f"{path}: {value!r} is no object"]
    if origin is not None:
        return _union_faults(get_args(kind), value, path)
    if _is_params(kind):
        return list(_params_faults(kind, value, path))
    if _is_model(kind):
        return list(_model_faults(kind, value, path))
    return _primitive_faults(kind, value, path)


def _list_faults(kind: Any, value: Any, path: str) -> list[str]:
    if not isinstance(value, list):
        return [f"{path}: {value!r} is no list"]
    return [fault for at, each in enumerate(value) for fault in faults(kind, each, f"{path}[{at}]")]


def _model_faults(kind: type[BaseModel], value: Any, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no {kind.__name__}"
        return
    for name, field in kind.model_fields.items():
        key = field.alias or name
        if key in value:
            yield from faults(field.annotation, value[key], f"{path}.{key}")
        elif field.is_required():
            yield f"{path}.{key}: missing"


def _params_faults(kind: Any, value: Any, path: str) -> Iterator[str]:
    """What is wrong with what a request sends; unlike an answer, it has no keys that the type lacks."""
    if not isinstance(value, dict):
        yield f"{path}: {value!r} is no {kind.__name__}"
        return
    hints = get_type_hints(kind, include_extras=True)
    for name, hint in hints.items():
        if name in value:
            yield from faults(hint, value[name], f"{path}.{name}")
        elif _is_required(hint):
            yield f"{path}.{name}: missing"
    yield from (f"{path}.{name}: unknown" for name in value if name not in hints)


def _union_faults(kinds: tuple[Any, ...], value: Any, path: str) -> list[str]:
    """A union is resolved by the literals of its members, else any member will do."""
    if value is None:
        return [] if type(None) in kinds else [f"{path}: null"]
    found = [(kind, faults(kind, value, path)) for kind in _flat(kinds) if kind is not type(None)]
    if any(not wrong for _, wrong in found):
        return []
    if isinstance(value, dict):
        near = [wrong for kind, wrong in found if _is_model(kind) and _is_named(kind, value)]
        own = value.get("type") or value.get("event")
        if not near:
            return [] if own in _NEWER_KINDS else [f"{path}: {own!r} is no type of the union"]
    else:
        near = [wrong for kind, wrong in found if (get_origin(kind) in _LISTS) == isinstance(value, list)]
    return min(near or [wrong for _, wrong in found], key=len)


def _flat(kinds: tuple[Any, ...]) -> Iterator[Any]:
    for kind in kinds:
        bare = _bare(kind)
        if get_origin(bare) is Union:
            yield from _flat(get_args(bare))
        else:
            yield bare


def _is_named(kind: Any, value: dict[str, Any]) -> bool:
    """Whether the literal fields of a model, if it has any, are those of the value."""
    if _is_params(kind):
        hints = {name: _bare(hint) for name, hint in get_type_hints(kind, include_extras=True).items()}
    else:
        fields = getattr(kind, "model_fields", {})
        hints = {name: field.annotation for name, field in fields.items()}
    names = [name for name in _DISCRIMINATORS if name in hints]
    # A message may leave its type out.
    return all(value.get(name, "message") in get_args(hints[name]) for name in names)


def _is_required(hint: Any) -> bool:
    origin: Any = get_origin(hint)
    return origin is Required


def _is_model(kind: Any) -> bool:
    return _is_params(kind) or (isinstance(kind, type) and issubclass(kind, BaseModel))


def _is_params(kind: Any) -> bool:
    return is_typeddict(kind)


def _bare(hint: Any) -> Any:
    """A type without what only describes it."""
    return _bare(get_args(hint)[0]) if get_origin(hint) in {Required, Annotated} else hint


def _primitive_faults(kind: Any, value: Any, path: str) -> list[str]:
    allowed = _PRIMITIVES.get(kind)
    if allowed is None:
        return []
    is_right = isinstance(value, allowed) and (kind is bool or not isinstance(value, bool))
    return [] if is_right else [f"{path}: {value!r} is no {kind.__name__}"]


# What OpenAI's first delta of a call had beyond the fields that the types require.
_FIRST: dict[str, dict[str, Any]] = {
    "function": {"output": None},
    "code_interpreter": {"input": "", "outputs": []},
}


def stream_faults(events: list[tuple[str, Any]]) -> list[str]:
    """What is wrong with the events of an Assistants stream, and with what their deltas add up to."""
    found: list[str] = []
    summed: dict[tuple[str, int], dict[str, Any]] = {}
    union = model("AssistantStreamEvent")
    for name, data in events:
        if name == "done":
            continue
        found += faults(union, {"event": name, "data": data}, name)
        for whole, part in _parts(data):
            place = (data["id"], part["index"])
            if place not in summed:
                found += _first_faults(whole, part)
            summed[place] = _added(summed.get(place, {}), part)
        if name in {"thread.message.completed", "thread.message.incomplete"}:
            parts = [summed.get((data["id"], at)) for at in range(len(data["content"]))]
            found += [f"{name}: not what its deltas add up to"] if parts != data["content"] else []
    return found


def _added(whole: dict[str, Any], delta: dict[str, Any]) -> dict[str, Any]:
    """Add a delta as the SDKs do: texts grow, lists are joined, an index only says which one is meant."""
    for key, value in delta.items():
        if isinstance(value, dict):
            whole[key] = _added(whole.get(key, {}), value)
        elif isinstance(value, list):
            whole[key] = whole.get(key, []) + [_added({}, each) for each in value]
        elif isinstance(value, str) and key not in _DISCRIMINATORS:
            whole[key] = whole.get(key, "") + value
        elif key != "index":
            whole[key] = value
    return whole


def _parts(data: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    """The parts and calls of a delta, with the name of the union that they open."""
    kind = data.get("object") if isinstance(data, dict) else None
    if kind == "thread.message.delta":
        yield from (("MessageContent", part) for part in data["delta"]["content"])
    elif kind == "thread.run.step.delta":
        calls = data["delta"]["step_details"].get("tool_calls") or []
        yield from (("ToolCall", call) for call in calls)


def _first_faults(whole: str, part: dict[str, Any]) -> list[str]:
    """The first delta is the whole in small: the SDKs add later deltas to the object that they make of it."""
    kind = part.get("type", "")
    path = f"first delta of {kind}"
    found = faults(model(whole), part, path)
    inner = part.get(kind) or {}
    for key, value in _FIRST.get(kind, {}).items():
        if key not in inner or inner[key] != value:
            found.append(f"{path}.{kind}.{key}: {inner.get(key, 'absent')!r} and not {value!r}")
    return found
