"""Reasoning that only the model and the upstream that made it can read again."""

import hashlib
from collections.abc import Iterable

from app.embedded.errors import ApiError
from app.embedded.wire import Json


def sealed_reasoning(model: str, seed: int) -> str:
    """What stands for encrypted reasoning; upstreams with another `seed` cannot read it."""
    return hashlib.sha256(f"{seed}:{model}".encode()).hexdigest()


def check_reasoning_readable(items: Iterable[Json], model: str, seed: int) -> None:
    """Refuse reasoning that another model or upstream made, or that was damaged.

    Raises ApiError 400 `invalid_encrypted_content`.
    """
    for item in items:
        sealed = item.get("encrypted_content") if item["type"] == "reasoning" else None
        if sealed and sealed != sealed_reasoning(model, seed):
            raise ApiError(
                f"The encrypted content for item {item['id']} could not be verified.",
                param="input",
                code="invalid_encrypted_content",
            )
