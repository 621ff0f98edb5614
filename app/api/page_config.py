"""What the chat app is told with its page: who answers, what works here, and the operator's wishes."""

from typing import Any

from app.core.assistant import Assistant
from app.core.config import Settings
from app.core.files.upload import MAX_INLINE_BYTES
from app.core.observability.health import Health
from app.core.openai_client import OpenAIClient
from app.core.ui_file import UiFile
from app.translate.events import Json
from app.utils.hosts import is_loopback


def shared_config(
    settings: Settings, assistant: Assistant, health: Health, client: OpenAIClient, ui: UiFile
) -> Json:
    """Return what page and frame have in common: what is public anyway, and no way to a session."""
    return {
        "mode": "frame",
        "assistant": assistant.name,
        "responder": health.describe().get("responder"),
        "ui": ui.public(),
        "features": _features(settings, client),
        "files": _files(settings, client),
    }


def page_config(shared: Json, assistant: Assistant, health: Health, token_url: str | None, mode: str) -> Json:
    """Return what the service's own page gets beside `shared`, which is `shared_config`'s.

    `mode` is AUTH_MODE; `token_url` is where the page gets sessions, None where it needs or gets none.
    """
    upstream = health.describe()
    return shared | {
        "mode": "page",
        "description": assistant.description,
        "model": upstream["model"],
        "upstream": upstream["kind"],
        "token_url": token_url,
        # The page has the sentence, in its language.
        "closed": None if mode == "none" or token_url else "noSessions",
    }


def _features(settings: Settings, client: OpenAIClient) -> Json:
    """Return which routes answer here; without a store `/feedback` and the list of threads are 501."""
    directory = client.thread_list.directory
    # Where strangers call without a name, the list is 403.
    are_told_apart = settings.auth_mode != "none" or is_loopback(settings.host)
    return {
        "feedback": client.insight is not None and client.insight.is_used,
        "threads": directory is not None and directory.is_used and are_told_apart,
    }


def _files(settings: Settings, client: OpenAIClient) -> dict[str, Any]:
    """Return the rules of uploads; `extensions`, such as `.pdf`, is empty where every type is taken."""
    types = settings.allowed_upload_types
    most = settings.max_upload_bytes
    return {
        "max_files": settings.max_files,
        "max_bytes": min(most, MAX_INLINE_BYTES) if client.files.routes.lacks_files else most,
        "extensions": [] if "*" in types else sorted(f".{name}" for name in types),
    }
