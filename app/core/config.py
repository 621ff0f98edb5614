"""Settings: the one place that reads the environment. `.env.example` lists them in this order."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from app.core.config_checks import (
    check_anonymous,
    check_callers,
    check_jwt,
    check_local_model,
    check_network,
    check_playground_sessions,
    check_upstream,
)
from app.models.common import RateLimit

PROJECT_ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.1.0"

OnDisconnect = Literal["cancel", "finish", "detach"]
"""What becomes of a run whose client leaves: stopped, read to its end by this replica, or left to go on."""

BackgroundSetting = Literal["auto", "always", "never", "poll", "stream", "off"]
"""Values of `UPSTREAM_BACKGROUND`; `stream` and `off` are the former names of `always` and `never`."""

Seconds = Annotated[float, Field(gt=0, le=86_400)]

# fmt: off
DEFAULT_UPLOAD_TYPES = [
    "c", "cpp", "cs", "css", "csv", "doc", "docx", "gif", "go", "html", "java", "jpeg", "jpg", "js", "json",
    "jsonl", "log", "md", "mp3", "mp4", "odt", "pdf", "php", "pkl", "png", "pptx", "py", "rb", "rtf", "sh",
    "tar", "tex", "ts", "tsv", "txt", "wav", "webp", "xlsx", "xml", "yaml", "yml", "zip",
]
# fmt: on
"""What OpenAI's models and tools can do something with."""
KeyName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,64}$")]
JwtAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"
]


class Settings(BaseSettings):
    """Every setting, with its default; field names are the environment's names in lower case."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    # Server
    host: str = Field("127.0.0.1", description="Address to listen on.")
    port: int = Field(8010, ge=0, le=65_535, description="Port to listen on.")
    debug: bool = Field(False, description="Verbose logs; never shows content or secrets.")
    docs_enabled: bool = Field(True, description="Serve Swagger UI at /docs and the OpenAPI document.")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="Least severe level logged."
    )
    log_format: Literal["auto", "json", "console"] = Field(
        "auto", description="auto: console on a terminal, else JSON."
    )
    log_file: Path | None = Field(
        None, description="Also log JSON lines to this rotating file, e.g. logs/app.log."
    )
    log_file_max_bytes: int = Field(
        10_000_000, ge=10_000, description="Size at which LOG_FILE rotates; five are kept."
    )
    max_body_bytes: int = Field(2_000_000, ge=1_000, description="Largest JSON request body, in bytes.")
    max_message_chars: int = Field(256_000, ge=1, description="Longest message text, in characters.")
    shutdown_grace_seconds: Seconds = Field(20, description="How long open streams may finish after SIGTERM.")

    # The assistant
    assistant_id: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
        description="The label clients see; default: the file's, else asst_soloist.",
    )
    assistant_name: str | None = Field(None, description="Its name; default: the file's, else Soloist.")
    assistant_description: str | None = Field(None, description="What it is for, in a sentence.")
    assistant_model: str | None = Field(
        None, description="Upstream model; default: the file's, else gpt-6-luna."
    )
    assistant_instructions: str | None = Field(None, description="System instructions, sent with every call.")
    assistant_temperature: float | None = Field(
        None, ge=0, le=2, description="Unset: the model's own (newer refuse it)."
    )
    assistant_top_p: float | None = Field(None, ge=0, le=1, description="Unset: the model's own.")
    assistant_reasoning_effort: str | None = Field(
        None, description="none, minimal, low, medium, high, xhigh."
    )
    assistant_truncation: Literal["auto", "disabled"] = Field(
        "auto",
        description="auto: a thread too long for the model loses its oldest items; disabled: it answers 400.",
    )
    assistant_tools: list[dict[str, Any]] | None = Field(
        None, description="Tools as a JSON list, in Assistants form."
    )
    assistant_vector_stores: list[str] | None = Field(
        None, description="JSON list of ids of the assistant's vector stores; turns file_search on."
    )
    assistant_file: Path | None = Field(
        None, description="An exported Assistants API assistant object (JSON file)."
    )
    allow_run_overrides: Literal["trusted", "all", "none"] = Field(
        "trusted",
        description="Who may override model, instructions, tools per run: API keys only, everybody, nobody.",
    )
    expose_instructions: bool = Field(False, description="Show the instructions to browser callers too.")
    max_output_tokens: int | None = Field(None, ge=16, description="Cap on the output tokens of any run.")
    unsupported_params: Literal["lenient", "strict"] = Field(
        "lenient", description="lenient: name them in x-ignored-params; strict: answer 400."
    )

    # Upstream: OpenAI, Azure, another server that speaks its wire; with none of these set, the embedded one
    openai_api_key: SecretStr | None = Field(None, description="Brings the real assistant.")
    openai_base_url: str | None = Field(
        None, description="Another server speaking Responses and Conversations."
    )
    openai_organization: str | None = Field(None, description="OpenAI organisation id.")
    openai_project: str | None = Field(None, description="OpenAI project id.")
    azure_openai_endpoint: str | None = Field(None, description="https://NAME.openai.azure.com")
    azure_openai_key: SecretStr | None = Field(None, description="Azure's api-key.")
    openai_timeout_seconds: Seconds = Field(
        60, description="Longest plain request, and longest silence of a stream, before 504."
    )
    openai_connect_timeout_seconds: Seconds = Field(
        5, description="Longest wait for a connection to the upstream."
    )
    upstream_adapter: Literal["direct", "sdk"] = Field(
        "direct", description="Who writes the requests that aiohttp sends: this service or openai's SDK."
    )
    upstream_max_connections: int = Field(12_000, ge=1, description="Connections to the upstream at most.")
    upstream_background: BackgroundSetting = Field(
        "auto",
        description="Which runs the upstream works on in the background: auto (those that detach), always, "
        "never (for zero data retention), poll (as auto, without streams).",
    )
    lock_wait_seconds: float = Field(
        5, ge=0, le=120, description="Longest wait for a busy thread before giving up."
    )
    run_expires_seconds: Seconds = Field(
        600, description="Deadline of a run; then it is cancelled and expired."
    )
    poll_after_ms: int = Field(
        500, ge=50, le=5_000, description="What openai-poll-after-ms tells pollers of a live run."
    )

    # Embedded upstream
    embedded_db: str = Field("data/embedded.db", description="SQLite file of the embedded upstream.")
    embedded_responder: Literal["guide", "scripted", "local"] = Field(
        "guide", description="Who answers without a key."
    )
    local_model_path: Path | None = Field(None, description="GGUF file for EMBEDDED_RESPONDER=local.")

    # Streams
    sse_keepalive_seconds: Seconds = Field(
        15, description="Silence after which a stream gets a comment line."
    )
    stream_max_seconds: Seconds = Field(3_600, description="Longest life of one stream.")
    slow_reader_seconds: Seconds = Field(
        30, description="A reader that takes nothing for so long is dropped."
    )
    max_streams: int = Field(10_000, ge=1, description="Runs and streams served at a time; more answer 503.")
    max_streams_per_owner: int = Field(
        20, ge=1, description="The same for one user; more answer 429. API keys acting for nobody are exempt."
    )
    on_disconnect_chat: OnDisconnect = Field(
        "cancel", description="What a chat does when its client goes away: cancel, finish or detach."
    )
    on_disconnect_runs: OnDisconnect = Field("detach", description="The same for runs.")

    # Files
    max_upload_bytes: int = Field(536_870_912, ge=1, description="Largest file taken, in bytes.")
    max_files: int = Field(10, ge=1, le=100, description="Files that come with one message at most.")
    allowed_upload_types: list[str] = Field(
        DEFAULT_UPLOAD_TYPES, description='JSON list of file extensions taken; ["*"] takes every type.'
    )
    expose_knowledge: bool = Field(
        False, description="Let browser callers read the assistant's vector store and its files too."
    )
    thread_store_days: int = Field(
        30, ge=1, le=365, description="Idle days after which a thread's own vector store expires."
    )
    citations: Literal["raw", "markdown", "footnotes", "strip"] = Field(
        "raw", description="How sources are written into the text of chat answers."
    )
    public_url: str | None = Field(
        None, description="Where browsers reach this service; makes links to generated files absolute."
    )

    # Pages
    playground_enabled: bool = Field(True, description="Serve the chat page at /playground.")
    playground_token_url: str | None = Field(
        None, description="Where the playground asks your backend for a session (POST), under auth."
    )
    playground_sessions: bool = Field(
        False, description="For development: mint the playground's sessions here, for anybody who opens it."
    )

    # Callers
    auth_mode: Literal["none", "api_key", "jwt"] = Field("none", description="Who may call.")
    allow_anonymous: bool = Field(False, description="Allow AUTH_MODE=none on other than loopback addresses.")
    api_keys: dict[KeyName, SecretStr | list[SecretStr]] = Field(
        {}, description='JSON object {"name": "key"}; a list of keys rotates; "sha256:…" hides one.'
    )
    secret_keys: list[SecretStr] = Field(
        [], description="JSON list of 32+ characters each; the first signs, all verify."
    )
    session_ttl_seconds: int = Field(600, ge=10, description="Life of a browser session's token by default.")
    session_max_ttl_seconds: int = Field(3_600, ge=10, description="Longest life that a session may ask for.")
    jwt_jwks_url: str | None = Field(None, description="Where the identity provider publishes its keys.")
    jwt_secret: SecretStr | None = Field(
        None, description="Shared secret of an identity provider that signs HS256."
    )
    jwt_issuer: str | None = Field(None, description="The only `iss` accepted.")
    jwt_audience: str | None = Field(None, description="The only `aud` accepted.")
    jwt_algorithms: list[JwtAlgorithm] | None = Field(
        None, description='Accepted algorithms; default ["RS256", "ES256"], or ["HS256"] with JWT_SECRET.'
    )
    jwt_leeway_seconds: float = Field(30, ge=0, le=300, description="Clock skew that is forgiven.")
    trusted_proxies: list[str] = Field(
        [], description="JSON list of proxies' addresses or networks, whose X-Forwarded-For is believed."
    )
    trusted_hosts: list[str] = Field(
        [], description='JSON list of Host names served, such as "*.example.com"; empty: every one.'
    )
    cors_origins: list[str] = Field([], description="JSON list of exact origins that browsers may call from.")

    # Limits
    rate_limit_enabled: bool = Field(True, description="Off switches every limit on requests off.")
    rate_limit_chat: RateLimit = Field(
        "300/minute", description="Chats, runs and tool outputs of one caller."
    )
    rate_limit_writes: RateLimit = Field("600/minute", description="All other POST and DELETE of one caller.")
    rate_limit_reads: RateLimit = Field("6000/minute", description="GET of one caller; polling is reading.")
    rate_limit_sessions: RateLimit = Field("120/minute", description="Sessions that one API key mints.")
    rate_limit_auth_failures: RateLimit = Field(
        "300/minute", description="Refused credentials of one client address."
    )
    rate_limit_storage: SecretStr = Field(
        SecretStr("memory://"),
        description="memory:// or, for several replicas, redis://…; keeps idempotency keys too.",
    )
    idempotency_ttl_seconds: int = Field(
        86_400, ge=1, le=604_800, description="How long an Idempotency-Key finds its first answer."
    )

    # Operations; OpenTelemetry is set by the standard OTEL_* variables, which its SDK reads itself
    metrics_enabled: bool = Field(True, description="Serve Prometheus metrics at /metrics.")
    metrics_token: SecretStr | None = Field(
        None, description="Bearer token for /metrics; unset: programs on this machine only."
    )
    prices_file: Path | None = Field(None, description="JSON file with prices by model, for the cost metric.")
    model_shutdown_warn_days: int = Field(
        30, ge=0, le=3_650, description="Days ahead to warn that the model is going to be switched off."
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        check_upstream(
            self.openai_api_key, self.openai_base_url, self.azure_openai_key, self.azure_openai_endpoint
        )
        if self.upstream_kind == "embedded" and self.embedded_responder == "local":
            check_local_model(self.local_model_path)
        check_callers(self.auth_mode, self.secret_keys, self.api_keys)
        if self.auth_mode == "none":
            check_anonymous(self.host, is_allowed=self.allow_anonymous)
        elif self.session_ttl_seconds > self.session_max_ttl_seconds:
            raise ValueError("SESSION_TTL_SECONDS is above SESSION_MAX_TTL_SECONDS")
        if self.auth_mode == "jwt":
            check_jwt(
                self.jwt_jwks_url, self.jwt_secret, self.jwt_issuer, self.jwt_audience, self.jwt_algorithms
            )
        storage = self.rate_limit_storage.get_secret_value()
        check_network(self.cors_origins, self.trusted_proxies, self.trusted_hosts, storage)
        if self.playground_sessions:
            check_playground_sessions(self.host, self.auth_mode, self.api_keys)
        return self

    @property
    def upstream_kind(self) -> Literal["openai", "azure", "custom", "embedded"]:
        """Which upstream the settings choose."""
        if self.azure_openai_endpoint:
            return "azure"
        if self.openai_base_url:
            return "custom"
        return "openai" if self.openai_api_key else "embedded"

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The secrets as bytes."""
        return tuple(key.get_secret_value().encode() for key in self.secret_keys)
