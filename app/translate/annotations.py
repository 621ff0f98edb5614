"""Translates upstream annotations to the Assistants shape and to the flat shape of chats."""

from collections.abc import Callable
from typing import Any

from app.translate.events import Json
from app.utils.ids import IdCodec

TextObject = Callable[[str, list[tuple[Json, Json]]], Json]
"""Returns the `{value, annotations}` of a text with its annotations, each in both of its shapes."""


def annotation_object(upstream: Json, text: str, ids: IdCodec) -> Json | None:
    """Return the Assistants annotation for an upstream one in `text`; None for an unknown kind.

    The `quote` of a file citation is usually empty: the upstream does not send the passage.
    """
    builder = _BUILDERS.get(str(upstream.get("type")))
    return builder(upstream, text, ids) if builder else None


def source_object(annotation: Json, upstream: Json) -> Json:
    """Return the flat form `{type, index, file_id?, filename?, url?, title?}` of an annotation.

    `index` is the position in the text, in characters, where the cited passage ends.
    """
    kind = annotation["type"]
    flat: Json = {"type": kind, "index": annotation["end_index"]}
    inner = annotation[kind]
    flat.update({key: inner[key] for key in ("file_id", "url", "title") if inner.get(key)})
    if upstream.get("filename"):
        flat["filename"] = upstream["filename"]
    return flat


def cited_sources(part: Json, text: str, ids: IdCodec) -> list[tuple[Json, Json]]:
    """Return the annotations of an upstream text part, each in both shapes."""
    return [
        (annotation, source_object(annotation, upstream))
        for upstream in part.get("annotations") or []
        if isinstance(upstream, dict) and (annotation := annotation_object(upstream, text, ids))
    ]


def _span(upstream: Json, text: str) -> Json:
    start = _position(upstream, "start_index", text)
    end = max(start, _position(upstream, "end_index", text))
    return {"text": text[start:end], "start_index": start, "end_index": end}


def _position(upstream: Json, key: str, text: str) -> int:
    # A citation of a file has one `index` instead of a start and an end.
    value = upstream.get(key, upstream.get("index"))
    # Some upstreams send whole numbers as floats, which may also be too large for an int.
    return int(min(max(0, value), len(text))) if isinstance(value, int | float) else len(text)


def _file_citation(upstream: Json, text: str, ids: IdCodec) -> Json:
    cited = {"file_id": _file_id(upstream, ids), "quote": str(upstream.get("quote") or "")}
    return {"type": "file_citation", **_span(upstream, text), "file_citation": cited}


def _url_citation(upstream: Json, text: str, _ids: IdCodec) -> Json:
    cited = {"url": str(upstream.get("url") or ""), "title": str(upstream.get("title") or "")}
    return {"type": "url_citation", **_span(upstream, text), "url_citation": cited}


def _file_path(upstream: Json, text: str, ids: IdCodec) -> Json:
    span = _span(upstream, text)
    # The Assistants API put the sandbox link here, and clients replace it in the text.
    if not span["text"] and upstream.get("filename"):
        span["text"] = f"sandbox:/mnt/data/{upstream['filename']}"
    return {"type": "file_path", **span, "file_path": {"file_id": _file_id(upstream, ids)}}


def _file_id(upstream: Json, ids: IdCodec) -> str:
    container: Any = upstream.get("container_id")
    return ids.file(str(upstream.get("file_id") or ""), str(container) if container else None)


_BUILDERS = {
    "file_citation": _file_citation,
    "url_citation": _url_citation,
    "container_file_citation": _file_path,
    "file_path": _file_path,
}
