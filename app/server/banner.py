"""What a terminal shows when the service is up: where things are, who answers, and what to do next."""

from typing import Any

from app.api.pages import has_playground
from app.core.config import VERSION, Settings
from app.utils.hosts import origin_of

_UNBUILT = "not built: start the service with ./run.sh, which builds it"
_KEY = "to use OpenAI, put OPENAI_API_KEY=sk-… into .env and start again"

_RESPONDERS = {
    "guide": "an offline guide answers from the documents",
    "scripted": "scripted answers for tests",
}


def banner(settings: Settings, upstream: dict[str, Any]) -> str:
    """Return the lines; `upstream` is what `Health.describe` tells."""
    origin = origin_of(settings.host, settings.port)
    rows = [("API", f"{origin}/api/v1"), ("Upstream", _described(upstream))]
    if upstream["kind"] == "embedded":
        rows.append(("", _KEY))
    if settings.docs_enabled:
        rows.insert(1, ("API docs", f"{origin}/docs"))
    if settings.playground_enabled:
        rows.insert(0, ("Chat", f"{origin}/playground" if has_playground() else _UNBUILT))
    lines = "\n".join(f"  {name:10}{text}" for name, text in rows)
    return f"\nSoloist {VERSION} serves on {origin} (Ctrl+C stops it)\n\n{lines}\n\n"


def _described(upstream: dict[str, Any]) -> str:
    if upstream["kind"] == "embedded":
        return f"embedded, no key is set: {_RESPONDERS[upstream['responder']]}"
    return f"{upstream['kind']}, model {upstream['model']}"
