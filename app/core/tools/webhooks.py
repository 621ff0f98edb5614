"""Functions behind webhooks as tools: TOOLS_FILE.

A call is one POST, signed as https://www.standardwebhooks.com says.
"""

import hashlib
import json
import os
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from standardwebhooks import Webhook

from app.core.config import VERSION, Settings
from app.core.environment import ENV_FILE, read_env_file
from app.core.setting_types import HttpUrl
from app.core.tools.port import ToolCall
from app.core.upstream.errors import UpstreamError, UpstreamUnreachableError
from app.core.upstream.session import open_session
from app.tools import Approval, ToolError, Visible
from app.translate.events import Json
from app.utils.hosts import environment_proxy
from app.utils.text_files import read_text

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
_HEADER_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")
_MOST_REASON_CHARS = 500
# A compressed answer could grow far beyond its limit.
_HEADERS = {"content-type": "application/json", "accept-encoding": "identity"}


def _checked_schema(found: Any) -> Any:
    if not isinstance(found, dict) or found.get("type") != "object":
        raise ValueError('must be a JSON schema with "type": "object"')
    return found


class WebhookEntry(BaseModel):
    """A tool as TOOLS_FILE has it."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(pattern=r"^[a-zA-Z0-9_-]{1,64}$")
    url: HttpUrl
    description: str = ""
    parameters: Annotated[Json, BeforeValidator(_checked_schema)] = Field(
        default_factory=lambda: {"type": "object", "properties": {}}
    )
    strict: bool = False
    headers: dict[str, str] = Field(default_factory=dict)
    timeout_seconds: float | None = Field(None, gt=0, le=86_400)
    approval: Approval = "never"
    idempotent: bool = False
    visible: Visible | None = None


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid")

    tools: list[WebhookEntry]


class _BrokenOffError(ToolError):
    """The tool may have run."""

    def __init__(self) -> None:
        super().__init__("The connection to the tool broke off.")


class WebhookTool:
    """A tool that a POST to one URL carries out. Raises `ValueError` for headers that cannot be sent."""

    def __init__(self, entry: WebhookEntry, settings: Settings, webhook: Webhook) -> None:
        self.name = entry.name
        self.needs_approval = entry.approval == "always"
        self.is_idempotent = entry.idempotent
        self.timeout_seconds = entry.timeout_seconds or settings.tool_timeout_seconds
        self.visible = entry.visible
        function = entry.model_dump(include={"name", "description", "parameters", "strict"})
        self.spec: Json = {"type": "function", "function": function}
        self._url = entry.url
        self._headers = {**_filled(entry.headers), **_HEADERS, "user-agent": f"soloist/{VERSION}"}
        self._settings = settings
        self._webhook = webhook
        self._session: aiohttp.ClientSession | None = None
        environment_proxy(self._url)  # a proxy that cannot be used is told at start

    async def run(self, arguments: Json, call: ToolCall) -> object:
        """Send the call and return the text of a 2xx answer; raises `ToolError` for others.

        Where the connection breaks off before the answer, an idempotent call is sent once more.
        """
        body = json.dumps({"tool": self.name, "arguments": arguments, **_context(call)})
        try:
            return await self._sent(body, call)
        except _BrokenOffError:
            if not self.is_idempotent:
                raise
        return await self._sent(body, call)

    async def _sent(self, body: str, call: ToolCall) -> str:
        if self._session is None:
            self._session = open_session(self._url, self._headers, self._settings)
        try:
            async with self._session.post(
                self._url, data=body.encode(), headers=self._signature(body, call), allow_redirects=False
            ) as response:
                return await self._output(response)
        except UpstreamUnreachableError as exc:
            raise ToolError("The tool cannot be reached.") from exc
        except (UpstreamError, aiohttp.ClientError, OSError) as exc:
            raise _BrokenOffError from exc

    async def aclose(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _signature(self, body: str, call: ToolCall) -> dict[str, str]:
        now, message_id = datetime.now(UTC), _message_id(call)
        return {
            "webhook-id": message_id,
            "webhook-timestamp": str(int(now.timestamp())),
            "webhook-signature": self._webhook.sign(message_id, now, body),
        }

    async def _output(self, response: aiohttp.ClientResponse) -> str:
        text = await _text(response, self._settings.tool_max_output_bytes)
        if 200 <= response.status < 300:
            return text
        # What a server says of its own failure is not meant for strangers.
        is_told = 400 <= response.status < 500 and response.content_type in {"text/plain", "application/json"}
        reason = f": {text[:_MOST_REASON_CHARS]}" if is_told and text else "."
        raise ToolError(f"The tool answered with status {response.status}{reason}")


def load_webhooks(settings: Settings) -> list[WebhookTool]:
    """Return the tools of TOOLS_FILE, none without one; raises `ValueError` with a line for each mistake."""
    file = settings.tools_file
    if file is None:
        return []
    if settings.tools_webhook_secret is None:
        raise ValueError("TOOLS_FILE needs TOOLS_WEBHOOK_SECRET, which signs the calls")
    webhook = Webhook(settings.tools_webhook_secret.get_secret_value())
    tools = []
    for entry in _read(file):
        try:
            tools.append(WebhookTool(entry, settings, webhook))
        except ValueError as exc:
            raise ValueError(f"TOOLS_FILE={file}: the tool {entry.name!r}: {exc}") from exc
    return tools


def _read(file: Path) -> list[WebhookEntry]:
    text = read_text(file, setting="TOOLS_FILE")
    try:
        found = json.loads(text) if file.suffix.lower() == ".json" else yaml.safe_load(text)
        return _File.model_validate({"tools": found} if isinstance(found, list) else found).tools
    except json.JSONDecodeError as exc:
        raise ValueError(f"TOOLS_FILE={file} is no JSON: {exc.msg} in line {exc.lineno}") from exc
    except yaml.YAMLError as exc:
        mark = getattr(exc, "problem_mark", None)
        line = f" in line {mark.line + 1}" if mark else ""
        raise ValueError(f"TOOLS_FILE={file} is no YAML: {getattr(exc, 'problem', None)}{line}") from exc
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False)
        places = {".".join(map(str, error["loc"])) or "the whole": error["msg"] for error in errors}
        lines = [f"TOOLS_FILE={file}: {place}: {message}" for place, message in places.items()]
        raise ValueError("\n".join(lines)) from exc


def _filled(headers: dict[str, str]) -> dict[str, str]:
    """Return headers with the values of the variables that they name as `${NAME}`."""
    known = {**read_env_file(ENV_FILE), **os.environ}
    found = {}
    for name, template in headers.items():
        if missing := next((each for each in _VARIABLE.findall(template) if not known.get(each)), None):
            raise ValueError(f"its header {name!r} needs the variable {missing}, which is not set")
        value = _VARIABLE.sub(lambda match: known[match[1]], template)
        if not _HEADER_NAME.match(name) or not value.isascii() or not value.isprintable():
            raise ValueError(f"its header {name!r} cannot be sent")
        found[name.lower()] = value
    return found


def _context(call: ToolCall) -> Json:
    caller = {"user_id": call.caller.user_id, "claims": dict(call.caller.claims)}
    return {
        "caller": caller,
        "thread_id": call.caller.thread_id,
        "run_id": call.caller.run_id,
        "call_id": call.call_id,
    }


def _message_id(call: ToolCall) -> str:
    """Return an id that is the same whenever this call is sent; models number calls anew in each run."""
    named = "\n".join([call.caller.thread_id or "", call.caller.run_id or "", call.call_id])
    return f"call_{hashlib.sha256(named.encode()).hexdigest()[:32]}"


async def _text(response: aiohttp.ClientResponse, max_bytes: int) -> str:
    if response.headers.get("content-encoding", "identity") != "identity":
        raise ToolError("The tool answered in a compressed form, which it was not asked for.")
    content = bytearray()
    async for chunk in response.content.iter_any():
        content += chunk
        if len(content) > max_bytes:
            raise ToolError(f"The tool returned more than {max_bytes} bytes. Ask for less.")
    try:
        return content.decode(response.charset or "utf-8")
    except (UnicodeDecodeError, LookupError):
        raise ToolError("The tool answered with what is no text.") from None
