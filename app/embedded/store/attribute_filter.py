"""Filters on the attributes of vector store files: comparisons, joined by and/or."""

import operator
from collections.abc import Callable, Mapping
from typing import Any

from app.embedded.errors import ApiError

_COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": operator.eq,
    "ne": operator.ne,
    "gt": operator.gt,
    "gte": operator.ge,
    "lt": operator.lt,
    "lte": operator.le,
    "in": lambda value, among: value in among,
    "nin": lambda value, among: value not in among,
}
_MAX_DEPTH = 8


def matches(condition: Mapping[str, Any], attributes: Mapping[str, Any], depth: int = 0) -> bool:
    """Whether attributes satisfy a filter.

    Raises ApiError 400 for a filter of unknown form.
    """
    kind = condition.get("type")
    nested = condition.get("filters")
    if kind in {"and", "or"} and isinstance(nested, list) and depth < _MAX_DEPTH:
        verdicts = (isinstance(one, dict) and matches(one, attributes, depth + 1) for one in nested)
        return all(verdicts) if kind == "and" else any(verdicts)
    compare = _COMPARISONS.get(str(kind))
    key = condition.get("key")
    if compare is None or not isinstance(key, str) or "value" not in condition:
        raise ApiError(
            "Invalid 'filters': expected {type, key, value} or {type: and|or, filters}.", param="filters"
        )
    if key not in attributes:
        return kind in {"ne", "nin"}
    try:
        return compare(attributes[key], condition["value"])
    except TypeError:
        return False
