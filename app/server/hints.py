"""Hints at settings that mean nothing, or not what their operator may think; they stop nothing."""

import difflib
import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from app.core.assistant import ignored_keys
from app.core.config import Settings
from app.core.environment import ENV_FILE, filled, is_platform, read_env_file
from app.server.startup import ProcessCount

_LIKENESS = 0.84
_MIN_CHARS = 6  # shorter names are like too many words
# Names that other programs, and OpenAI's SDKs, have for what settings here are called otherwise.
_FOREIGN = {
    "OPENAI_KEY": "OPENAI_API_KEY",
    "OPENAI_API_BASE": "OPENAI_BASE_URL",
    "OPENAI_API_URL": "OPENAI_BASE_URL",
    "OPENAI_ORG_ID": "OPENAI_ORGANIZATION",
    "OPENAI_PROJECT_ID": "OPENAI_PROJECT",
    "OPENAI_MODEL": "ASSISTANT_MODEL",
    "OPENAI_ASSISTANT_ID": "ASSISTANT_ID",
    "ASSISTANT_PROMPT": "ASSISTANT_INSTRUCTIONS",
    "AZURE_OPENAI_API_KEY": "AZURE_OPENAI_KEY",
    "AZURE_OPENAI_DEPLOYMENT": "ASSISTANT_MODEL",
    "AZURE_OPENAI_DEPLOYMENT_NAME": "ASSISTANT_MODEL",
    "ALLOWED_ORIGINS": "CORS_ORIGINS",
    "ALLOWED_HOSTS": "TRUSTED_HOSTS",
}


def hints_of(settings: Settings) -> list[str]:
    """Return the hints, a sentence each, for the settings and for what the environment and `.env` hold."""
    return [*_unknown_names(), *_without_effect(settings), *ignored_keys(settings)]


def _unknown_names() -> Iterator[str]:
    """Find names that are close to a setting's; all others belong to other programs."""
    places = dict.fromkeys(filled(read_env_file(ENV_FILE)), f"in {ENV_FILE}")
    places |= dict.fromkeys(filled(dict(os.environ)), "in the environment")
    fields = {**Settings.model_fields, **ProcessCount.model_fields}
    for name in sorted(places.keys() - fields):
        meant = meant_by(name)
        if meant and meant.lower() not in places:
            yield f"{name.upper()} {places[name]} is no setting; did you mean {meant}?"


def meant_by(name: str) -> str | None:
    """Return the setting that a name is close to."""
    upper = name.upper()
    names = [field.upper() for field in Settings.model_fields]
    near = difflib.get_close_matches(upper, names, 1, _LIKENESS) if len(name) >= _MIN_CHARS else []
    bare = {re.sub("_", "", each): each for each in names}.get(re.sub("[_-]", "", upper))
    return _FOREIGN.get(upper) or bare or (near[0] if near else None)


def _without_effect(settings: Settings) -> Iterator[str]:
    mode = settings.auth_mode
    if mode == "none" and settings.api_keys:
        yield "API_KEYS is set, but AUTH_MODE=none lets everybody in; set AUTH_MODE=api_key to use the keys."
    for name in ("jwt_jwks_url", "jwt_secret"):
        if mode != "jwt" and getattr(settings, name):
            yield f"{name.upper()} is set, but AUTH_MODE={mode} does not read it; set AUTH_MODE=jwt."
    if settings.assistant_truncation:
        now = "truncate" if settings.assistant_truncation == "auto" else "fail"
        yield f"ASSISTANT_TRUNCATION is a former name; set ASSISTANT_CONTEXT={now}, or compact, instead."
    if is_platform(os.environ.get("HOST", "")):
        yield (
            f"HOST={os.environ['HOST']} is what conda calls this platform, and is not heeded; "
            f"the service listens on {settings.host}."
        )
    if settings.openai_base_url and urlsplit(settings.openai_base_url).path in {"", "/"}:
        yield f"OPENAI_BASE_URL={settings.openai_base_url} has no path; most servers answer below /v1."
