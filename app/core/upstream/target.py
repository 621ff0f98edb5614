"""The address and credentials of the upstream, from the settings."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from app.core.config import Settings
from app.core.config_checks import OPENAI_BASE_URL

_OPENAI = ("openai.com",)
_AZURE = ("openai.azure.com", "services.ai.azure.com", "cognitiveservices.azure.com")
_STORING = (*_OPENAI, *_AZURE, "api.x.ai")
"""Hosts that store responses, and the domains they are in."""


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

    @property
    def has_conversations(self) -> bool | None:
        """Whether the upstream keeps conversations, as far as its host tells."""
        if self.kind in {"openai", "embedded"} or self._is_in(_OPENAI):
            return True
        return False if self.kind == "azure" or self._is_in(_AZURE) else None

    @property
    def stores_responses(self) -> bool | None:
        """Whether the upstream can read a response back, as far as its host tells."""
        return True if self.kind in {"openai", "azure", "embedded"} or self._is_in(_STORING) else None

    def _is_in(self, domains: tuple[str, ...]) -> bool:
        host = urlsplit(self.base_url).hostname or ""
        return any(host == domain or host.endswith("." + domain) for domain in domains)


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


def may_need_store(settings: Settings, target: UpstreamTarget) -> bool:
    """Return whether the service may have to keep something itself, as far as is known without asking."""
    mode = settings.conversations
    is_kept_upstream = mode == "upstream" or (mode == "auto" and target.has_conversations)
    return settings.store_url is not None or not is_kept_upstream
