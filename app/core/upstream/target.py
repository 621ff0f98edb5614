"""The address and credentials of the upstream, from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from app.core.config import Settings
from app.core.config_checks import OPENAI_BASE_URL


@dataclass(frozen=True, slots=True)
class UpstreamTarget:
    """An upstream's address and credentials."""

    kind: str
    base_url: str
    api_key: str = field(repr=False)
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @property
    def auth_headers(self) -> dict[str, str]:
        """The headers that authenticate a call."""
        return {"authorization": f"Bearer {self.api_key}", **self.headers}


def target_of(settings: Settings, embedded_url: str | None = None) -> UpstreamTarget:
    """Return the upstream that the settings choose; `embedded_url` is the address of the embedded one."""
    if settings.azure_openai_endpoint and settings.azure_openai_key:
        key = settings.azure_openai_key.get_secret_value().strip()
        base = settings.azure_openai_endpoint.rstrip("/")
        base = base if base.endswith("/openai/v1") else base + "/openai/v1"
        return UpstreamTarget("azure", base, key, {"api-key": key})
    named = {"OpenAI-Organization": settings.openai_organization, "OpenAI-Project": settings.openai_project}
    headers = {name: value for name, value in named.items() if value}
    # Local upstreams need no key, but the header needs a value.
    key = settings.openai_api_key.get_secret_value().strip() if settings.openai_api_key else "none"
    kind = settings.upstream_kind
    if kind == "embedded":
        return UpstreamTarget(kind, embedded_url or "", "embedded")
    return UpstreamTarget(kind, (settings.openai_base_url or OPENAI_BASE_URL).rstrip("/"), key, headers)
