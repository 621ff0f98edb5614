"""Settings, from the environment and `.env`; `.env.example` lists them in this order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, model_validator

from app.core.config_checks import (
    check_anonymous,
    check_callers,
    check_jwt,
    check_playground_sessions,
    check_root_path,
    check_upstream,
)
from app.core.environment import EnvironmentSettings
from app.core.setting_types import (
    AnyList,
    ApiKeys,
    BaseUrl,
    ExistingFile,
    FileName,
    FileTypes,
    HeaderKey,
    HeaderText,
    HostNames,
    HttpUrl,
    ListenHost,
    LocalPath,
    LongSecret,
    Networks,
    Origins,
    PageUrl,
    StorageUrl,
    StoreUrl,
    TextList,
    TimeZone,
    Tools,
    WebhookSecret,
)
from app.models.common import RateLimit

PROJECT_ROOT = Path(__file__).resolve().parents[2]
VERSION = "0.1.0"

# A run whose client disconnects is cancelled, read to its end by this replica, or left to the upstream.
OnDisconnect = Literal["cancel", "finish", "detach"]
# `stream` and `off` are the former names of `always` and `never`.
BackgroundSetting = Literal["auto", "always", "never", "poll", "stream", "off"]
ConversationsSetting = Literal["auto", "upstream", "own"]
Seconds = Annotated[float, Field(gt=0, le=86_400)]

_COMPACT_TOKENS = 100_000
_COMPACT_SHARE = 0.8
MAX_CHAR_BYTES = 12
"""What one character takes in JSON at most: an emoji is written as two escapes, `\\ud83d\\ude00`."""

# The types that OpenAI's models and tools can use.
# fmt: off
DEFAULT_UPLOAD_TYPES = [
    "c", "cpp", "cs", "css", "csv", "doc", "docx", "gif", "go", "html", "java", "jpeg", "jpg", "js", "json",
    "jsonl", "log", "md", "mp3", "mp4", "odt", "pdf", "php", "pkl", "png", "pptx", "py", "rb", "rtf", "sh",
    "tar", "tex", "ts", "tsv", "txt", "wav", "webp", "xlsx", "xml", "yaml", "yml", "zip",
]
# fmt: on
JwtAlgorithm = Literal[
    "HS256", "HS384", "HS512", "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "EdDSA"
]


def setting(default: Any, description: str, **limits: Any) -> Any:
    """Return a field of `Settings`."""
    return Field(default, description=description, **limits)


class Settings(EnvironmentSettings):
    """All settings with their defaults; a variable's name is its field's name in upper case."""

    # Server
    host: ListenHost = setting("127.0.0.1", "Address to listen on.")
    port: int = setting(8010, "Port to listen on.", ge=0, le=65_535)
    debug: bool = setting(False, "Verbose logs; never shows content or secrets.")
    docs_enabled: bool = setting(True, "Serve Swagger UI at /docs and the OpenAPI document.")
    log_level: Literal["debug", "info", "warning", "error"] = setting("info", "Least severe level logged.")
    log_format: Literal["auto", "json", "console"] = setting(
        "auto", "auto: console on a terminal, else JSON."
    )
    log_file: LocalPath | None = setting(
        None, "Also log JSON lines to this rotating file, e.g. logs/app.log."
    )
    log_file_max_bytes: int = setting(10_000_000, "Size at which LOG_FILE rotates; five are kept.", ge=10_000)
    max_body_bytes: int | None = setting(
        None, "Largest JSON request body; default: room for MAX_MESSAGE_CHARS, 2000000 at least.", ge=1_000
    )
    max_message_chars: int = setting(256_000, "Longest message text, in characters.", ge=1)
    shutdown_grace_seconds: Seconds = setting(20, "How long open streams may finish after SIGTERM.")

    # The assistant
    assistant_id: str | None = setting(
        None,
        "The label clients see; default: the file's, else asst_soloist.",
        pattern=r"^[A-Za-z0-9_-]{1,64}$",
    )
    assistant_name: str | None = setting(None, "Its name; default: the file's, else Soloist.")
    assistant_description: str | None = setting(None, "What it is for, in a sentence.")
    assistant_model: str | None = setting(None, "Upstream model; default: the file's, else gpt-6-luna.")
    assistant_instructions: str | None = setting(None, "System instructions, sent with every call.")
    assistant_temperature: float | None = setting(
        None, "Unset: the model's own (newer refuse it).", ge=0, le=2
    )
    assistant_top_p: float | None = setting(None, "Unset: the model's own.", ge=0, le=1)
    assistant_reasoning_effort: str | None = setting(None, "none, minimal, low, medium, high, xhigh.")
    assistant_reasoning_summary: Literal["auto", "concise", "detailed"] | None = setting(
        None, "Ask for a summary of the model's reasoning: auto, concise or detailed."
    )
    assistant_context: Literal["compact", "truncate", "fail"] = setting(
        "compact",
        "What becomes of a thread too long for the model: a summary for its older part, nothing, or a 400.",
    )
    assistant_compact_tokens: int | None = setting(
        None,
        "From so many tokens on, compact; default: 80 % of ASSISTANT_CONTEXT_TOKENS, else 100000.",
        ge=1_000,
    )
    assistant_truncation: Literal["auto", "disabled"] | None = setting(
        None, "Former name: auto is ASSISTANT_CONTEXT=truncate, disabled is ASSISTANT_CONTEXT=fail."
    )
    assistant_context_tokens: int | None = setting(
        None, "The model's window, where the service keeps the history: older turns are left out.", ge=512
    )
    assistant_tools: Tools | None = setting(None, "Tools as a JSON list, in Assistants form, or their names.")
    assistant_vector_stores: TextList | None = setting(
        None, "Ids of the assistant's vector stores; turns file_search on."
    )
    assistant_file: ExistingFile | None = setting(
        None, "An exported Assistants API assistant object (JSON file)."
    )
    allow_run_overrides: Literal["trusted", "all", "none"] = setting(
        "trusted", "Who may override model, instructions, tools per run: API keys only, everybody, nobody."
    )
    expose_instructions: bool = setting(False, "Show the instructions to browser callers too.")
    max_output_tokens: int | None = setting(None, "Cap on the output tokens of any run.", ge=16)
    unsupported_params: Literal["lenient", "strict"] = setting(
        "lenient", "lenient: name them in x-ignored-params; strict: answer 400."
    )

    # Tools that the service runs itself
    tools_module: str | None = setting(
        None, "Your Python file, or module, with functions marked @tool or @guard."
    )
    tools_file: ExistingFile | None = setting(None, "JSON or YAML file of tools behind webhooks.")
    tools_webhook_secret: WebhookSecret | None = setting(
        None, "Signs the calls of webhooks: whsec_ and base64, as Standard Webhooks has it."
    )
    tool_timeout_seconds: Seconds = setting(30, "Longest call of a tool that names no time of its own.")
    tool_threads: int = setting(8, "Threads for tools that are plain functions.", ge=1, le=1_000)
    tools_max_parallel: int = setting(8, "Calls of one run that are carried out at a time.", ge=1, le=128)
    tools_max_rounds: int = setting(8, "Rounds of calls in a run; then comes the answer.", ge=1, le=100)
    tool_max_output_bytes: int = setting(
        100_000, "Largest output of a tool; a larger one is an error.", ge=100
    )
    tools_visible: Literal["names", "full", "none"] = setting(
        "names", "What browsers see of such calls: names, full (arguments and outputs too), none."
    )

    # Safety
    moderation: Literal["off", "flag", "block"] = setting(
        "off", "What the upstream's moderation does with messages and answers: off, flag or block them."
    )
    moderation_model: str = setting("omni-moderation-latest", "The upstream's model for that.", min_length=1)

    # Upstream: OpenAI, Azure, another server that speaks its wire; with none of these set, the embedded one
    openai_api_key: HeaderKey | None = setting(None, "Brings the real assistant.")
    openai_base_url: BaseUrl | None = setting(None, "Another server speaking Responses.")
    openai_organization: HeaderText | None = setting(None, "OpenAI organisation id.")
    openai_project: HeaderText | None = setting(None, "OpenAI project id.")
    azure_openai_endpoint: BaseUrl | None = setting(None, "https://NAME.openai.azure.com")
    azure_openai_key: HeaderKey | None = setting(None, "Azure's api-key.")
    openai_timeout_seconds: Seconds = setting(
        60, "Longest plain request, and longest silence of a stream, before 504."
    )
    openai_connect_timeout_seconds: Seconds = setting(5, "Longest wait for a connection to the upstream.")
    upstream_adapter: Literal["direct", "sdk"] = setting(
        "direct", "Who writes the requests that aiohttp sends: this service or openai's SDK."
    )
    upstream_max_connections: int = setting(12_000, "Connections to the upstream at most.", ge=1)
    upstream_background: BackgroundSetting = setting(
        "auto",
        "Which runs the upstream works on in the background: auto (those that detach), always, "
        "never (for zero data retention), poll (as auto, without streams).",
    )
    lock_wait_seconds: float = setting(5, "Longest wait for a busy thread before giving up.", ge=0, le=120)
    run_expires_seconds: Seconds = setting(600, "Deadline of a run; then it is cancelled and expired.")
    poll_after_ms: int = setting(
        500, "What openai-poll-after-ms tells pollers of a live run.", ge=50, le=5_000
    )

    # Store
    conversations: ConversationsSetting = setting(
        "auto",
        "Who keeps conversations: upstream, own (the store), or auto: own where the upstream has none.",
    )
    store_url: StoreUrl | None = setting(
        None, "sqlite:///file or postgresql://…; default, where one is needed: soloist.db beside EMBEDDED_DB."
    )
    thread_retention_days: int | None = setting(
        None, "Threads without activity for so many days are deleted; unset: none.", ge=1, le=36_500
    )

    # Embedded upstream
    embedded_db: FileName = setting("data/embedded.db", "SQLite file of the embedded upstream.")
    embedded_responder: Literal["guide", "scripted"] = setting("guide", "Who answers without a key.")

    # A model on this machine
    local_model_path: LocalPath | None = setting(
        None, "GGUF file that ./run.sh local serves; default: a small one."
    )

    # Streams
    sse_keepalive_seconds: Seconds = setting(15, "Silence after which a stream gets a comment line.")
    stream_max_seconds: Seconds = setting(3_600, "Longest life of one stream.")
    slow_reader_seconds: Seconds = setting(30, "A reader that takes nothing for so long is dropped.")
    max_streams: int = setting(10_000, "Runs and streams served at a time; more answer 503.", ge=1)
    max_streams_per_owner: int = setting(
        20, "The same for one user; more answer 429. API keys acting for nobody are exempt.", ge=1
    )
    on_disconnect_chat: OnDisconnect = setting(
        "cancel", "What a chat does when its client goes away: cancel, finish or detach."
    )
    on_disconnect_runs: OnDisconnect = setting("detach", "The same for runs.")

    # Files
    max_upload_bytes: int = setting(536_870_912, "Largest file taken, in bytes.", ge=1)
    max_files: int = setting(10, "Files that come with one message at most.", ge=1, le=100)
    allowed_upload_types: FileTypes = setting(
        DEFAULT_UPLOAD_TYPES, "File extensions taken; * takes every type."
    )
    expose_knowledge: bool = setting(
        False, "Let browser callers read the assistant's vector store and its files too."
    )
    thread_store_days: int = setting(
        30, "Idle days after which a thread's own vector store expires.", ge=1, le=365
    )
    citations: Literal["raw", "markdown", "footnotes", "strip"] = setting(
        "raw", "How sources are written into the text of answers."
    )
    public_url: HttpUrl | None = setting(
        None, "Where browsers reach this service; makes links to generated files absolute."
    )
    root_path: str | None = setting(
        None, "Path under which a proxy publishes this service; default: that of PUBLIC_URL."
    )

    # Pages
    playground_enabled: bool = setting(True, "Serve the chat page at /playground.")
    playground_token_url: PageUrl | None = setting(
        None, "Where the playground asks your backend for a session (POST), under auth."
    )
    playground_sessions: bool = setting(
        False, "For development: mint the playground's sessions here, for anybody who opens it."
    )
    ui_file: ExistingFile | None = setting(
        None, "JSON file with title, colours, greeting and more of the chat page and the widget."
    )

    # Callers
    auth_mode: Literal["none", "api_key", "jwt"] = setting("none", "Who may call.")
    allow_anonymous: bool = setting(False, "Allow AUTH_MODE=none on other than loopback addresses.")
    api_keys: ApiKeys = setting(
        {}, "name=key,name2=key2 or JSON; a name's second key rotates it; sha256:… hides one."
    )
    secret_keys: Annotated[list[LongSecret], AnyList] = setting(
        [], "Secrets of 32+ characters each; the first signs, all verify."
    )
    session_ttl_seconds: int = setting(600, "Life of a browser session's token by default.", ge=10)
    session_max_ttl_seconds: int = setting(3_600, "Longest life that a session may ask for.", ge=10)
    jwt_jwks_url: HttpUrl | None = setting(None, "Where the identity provider publishes its keys.")
    jwt_secret: SecretStr | None = setting(None, "Shared secret of an identity provider that signs HS256.")
    jwt_issuer: str | None = setting(None, "The only `iss` accepted.")
    jwt_audience: str | None = setting(None, "The only `aud` accepted.")
    jwt_algorithms: Annotated[list[JwtAlgorithm], AnyList] | None = setting(
        None, 'Accepted algorithms; default ["RS256", "ES256"], or ["HS256"] with JWT_SECRET.'
    )
    jwt_leeway_seconds: float = setting(30, "Clock skew that is forgiven.", ge=0, le=300)
    trusted_proxies: Networks = setting(
        [], "Proxies' addresses or networks, whose X-Forwarded-For is believed."
    )
    trusted_hosts: HostNames = setting([], "Host names served, such as *.example.com; empty: every one.")
    cors_origins: Origins = setting([], "Exact origins that browsers may call from.")

    # Limits
    request_timeout_seconds: Seconds = setting(
        30, "Seconds in which a request must arrive; an upload may take so long for each 64 KiB."
    )
    rate_limit_enabled: bool = setting(True, "Off switches every limit on requests off.")
    rate_limit_chat: RateLimit = setting("300/minute", "Chats, runs and tool outputs of one caller.")
    rate_limit_writes: RateLimit = setting("600/minute", "All other POST and DELETE of one caller.")
    rate_limit_reads: RateLimit = setting("6000/minute", "GET of one caller; polling is reading.")
    rate_limit_sessions: RateLimit = setting("120/minute", "Sessions that one API key mints.")
    rate_limit_auth_failures: RateLimit = setting("300/minute", "Refused credentials of one client address.")
    rate_limit_storage: StorageUrl = setting(
        SecretStr("memory://"), "memory:// or, for several replicas, redis://…; keeps idempotency keys too."
    )
    idempotency_ttl_seconds: int = setting(
        86_400, "How long an Idempotency-Key finds its first answer.", ge=1, le=604_800
    )

    # Budgets; a day begins at midnight
    budget_user_tokens_day: int | None = setting(
        None, "Tokens that one user may take in a day, input and output.", ge=1
    )
    budget_total_tokens_day: int | None = setting(None, "Tokens for everybody together in a day.", ge=1)
    budget_user_cost_day: float | None = setting(
        None, "Money for one user in a day, in the currency of PRICES_FILE.", gt=0, le=1_000_000
    )
    budget_total_cost_day: float | None = setting(
        None, "Money for everybody together in a day.", gt=0, le=1_000_000
    )
    budget_timezone: TimeZone = setting("UTC", "Where midnight is, such as Asia/Seoul.")

    # Operations; OpenTelemetry is set by the standard OTEL_* variables, which its SDK reads itself
    metrics_enabled: bool = setting(True, "Serve Prometheus metrics at /metrics.")
    metrics_token: HeaderKey | None = setting(
        None, "Bearer token for /metrics; unset: programs on this machine only."
    )
    prices_file: ExistingFile | None = setting(
        None, "JSON file with prices by model, for the cost metric and budgets."
    )
    feedback_webhook_url: HttpUrl | None = setting(
        None, "Gets feedback.created and budget.reached: ids, times and numbers, never content."
    )
    feedback_webhook_secret: WebhookSecret | None = setting(
        None, "Signs these events: whsec_ and base64, as Standard Webhooks has it."
    )
    model_shutdown_warn_days: int = setting(
        30, "Days ahead to warn that the model is going to be switched off.", ge=0, le=3_650
    )

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if problems := list(self._contradictions()):
            raise ValueError("\n".join(problems))
        return self

    def _contradictions(self) -> Iterator[str]:
        yield from check_upstream(
            self.openai_api_key, self.openai_base_url, self.azure_openai_key, self.azure_openai_endpoint
        )
        if self.thread_retention_days and self.conversations == "upstream" and not self.store_url:
            yield "THREAD_RETENTION_DAYS needs STORE_URL: the store knows which threads there are"
        if self.moderation == "block" and self.upstream_kind == "embedded":
            yield "MODERATION=block needs an upstream that moderates, and the embedded one does not"
        yield from check_callers(self.auth_mode, self.secret_keys, self.api_keys)
        if self.auth_mode == "none":
            yield from check_anonymous(self.host, is_allowed=self.allow_anonymous)
        elif self.session_ttl_seconds > self.session_max_ttl_seconds:
            yield "SESSION_TTL_SECONDS is above SESSION_MAX_TTL_SECONDS"
        if self.auth_mode == "jwt":
            yield from check_jwt(
                self.jwt_jwks_url, self.jwt_secret, self.jwt_issuer, self.jwt_audience, self.jwt_algorithms
            )
        has_cost = self.budget_user_cost_day or self.budget_total_cost_day
        if has_cost and self.prices_file is None:
            yield "BUDGET_USER_COST_DAY and BUDGET_TOTAL_COST_DAY need PRICES_FILE: nothing has a price"
        if self.feedback_webhook_url and self.feedback_webhook_secret is None:
            yield "FEEDBACK_WEBHOOK_URL needs FEEDBACK_WEBHOOK_SECRET, which signs the events"
        yield from check_root_path(self.root_path, self.public_url)
        if self.playground_sessions:
            yield from check_playground_sessions(self.host, self.auth_mode, self.api_keys)

    @property
    def upstream_kind(self) -> Literal["openai", "azure", "custom", "embedded"]:
        """The kind of upstream that the settings select."""
        if self.azure_openai_endpoint:
            return "azure"
        if self.openai_base_url:
            return "custom"
        return "openai" if self.openai_api_key else "embedded"

    @property
    def context_params(self) -> dict[str, Any]:
        """The parameters of a response that say what becomes of a thread too long for the model."""
        mode = self.assistant_context
        if self.assistant_truncation and "assistant_context" not in self.model_fields_set:
            mode = "truncate" if self.assistant_truncation == "auto" else "fail"
        if mode != "compact":
            return {"truncation": "auto" if mode == "truncate" else "disabled"}
        own = int((self.assistant_context_tokens or 0) * _COMPACT_SHARE) or _COMPACT_TOKENS
        threshold = self.assistant_compact_tokens or max(1_000, own)
        return {"context_management": [{"type": "compaction", "compact_threshold": threshold}]}

    @property
    def store_location(self) -> str:
        """The URL of the store, also where it may not be needed; by default a file beside EMBEDDED_DB."""
        if self.store_url is not None:
            return self.store_url.get_secret_value()
        return f"sqlite:///{Path(self.embedded_db).parent / 'soloist.db'}"

    @property
    def redis_url(self) -> str | None:
        """The Redis that replicas share, if there is one."""
        url = self.rate_limit_storage.get_secret_value()
        return None if url.startswith("memory:") else url

    @property
    def path_prefix(self) -> str:
        """The path under which browsers reach the service, such as `/openai-api`; empty for the root."""
        path = self.root_path or urlsplit(self.public_url or "").path
        return f"/{path.strip('/')}" if path.strip("/") else ""

    @property
    def body_limit(self) -> int:
        """The largest JSON body, in bytes."""
        beside_text = 65_536
        return self.max_body_bytes or max(2_000_000, self.max_message_chars * MAX_CHAR_BYTES + beside_text)

    @property
    def named_api_keys(self) -> list[tuple[str, str]]:
        """All API keys, each with its name."""
        return [(name, key.get_secret_value()) for name, keys in self.api_keys.items() for key in keys]

    @property
    def signing_keys(self) -> tuple[bytes, ...]:
        """The secrets as bytes."""
        return tuple(key.get_secret_value().encode() for key in self.secret_keys)
