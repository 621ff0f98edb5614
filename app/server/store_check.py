"""What the check says of conversations: who keeps them, in which store, and how live turns go there."""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from pydantic import SecretStr

from app.core.assistant import Assistant, load_assistant
from app.core.background import BackgroundTasks
from app.core.config import Settings
from app.core.files.routes import FileRoutes, NoToolError
from app.core.observability.run_metrics import Price
from app.core.own_conversations.choice import ConversationChoice
from app.core.own_conversations.factory import opened_conversations
from app.core.runs.params import FILE_TOOLS
from app.core.store.database import Database
from app.core.store.schema import newest_version
from app.core.upstream.errors import NO_ROUTE, UpstreamAuthError, UpstreamError, UpstreamUnreachableError
from app.core.upstream.port import Upstream
from app.core.upstream.retries import parsed
from app.core.upstream.target import UpstreamTarget, may_need_store
from app.server.findings import Finding
from app.server.live_check import LiveCheck
from app.translate.events import Json
from app.translate.upstream_types import checked_conversation

_SECONDS = 10.0
_GRACE_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class KeptBy:
    """Whether the service keeps conversations, None while that is undecided, and what there is to say."""

    is_own: bool | None
    findings: list[Finding] = field(default_factory=list)


async def check_conversations(settings: Settings, target: UpstreamTarget, upstream: Upstream) -> KeptBy:
    """Find out who keeps conversations and why, and look at the store; nothing is changed.

    An upstream that may have conversations is asked for one, which is deleted. Raises the `UpstreamError` of
    one that cannot be reached or refuses the credentials.
    """
    kept = await _kept_by(settings, target, upstream)
    findings = kept.findings
    if may_need_store(settings, target) and (kept.is_own is not False or settings.store_url):
        findings = [*findings, await _store_finding(settings)]
    if kept.is_own is not False:
        findings = [*findings, _storing(target.stores_responses)]
    return KeptBy(kept.is_own, findings)


async def check_tools(assistant: Assistant, upstream: Upstream) -> list[Finding]:
    """Warn of tools of the assistant that the upstream has no server for. Upstream: GET files and more."""
    routes, findings = FileRoutes(upstream), []
    for kind in sorted({str(tool.get("type")) for tool in assistant.tools} & FILE_TOOLS):
        try:
            await routes.check_tools([kind], "ASSISTANT_TOOLS")
        except NoToolError as exc:
            findings.append(Finding("warning", exc.message))
    return findings


async def check_live(
    settings: Settings,
    target: UpstreamTarget,
    upstream: Upstream,
    check: tuple[str, Price | None],
    *,
    is_own: bool,
) -> list[Finding]:
    """Make the turns of `LiveCheck`; conversations of our own are in a store that is deleted afterwards."""
    model, price = check
    own = load_assistant(settings).response_params({})
    chosen = {name: value for name, value in own.items() if name in {"temperature", "top_p", "reasoning"}}
    optional: Json = {**chosen, **settings.context_params, "prompt_cache_key": "soloist_check"}
    if not is_own:
        return await LiveCheck(upstream, model, price, optional=optional).findings()
    with tempfile.TemporaryDirectory() as folder:
        store = SecretStr(f"sqlite:///{Path(folder) / 'check.db'}")
        changed = settings.model_copy(update={"conversations": "own", "store_url": store})
        background = BackgroundTasks()
        async with opened_conversations(changed, target, upstream, background, lambda _: None) as kept:
            live = LiveCheck(kept.upstream, model, price, lambda: kept.choice.stores_responses, optional)
            findings = await live.findings()
            await background.drain(_GRACE_SECONDS)
            if target.stores_responses is None:
                findings.append(_storing(kept.choice.stores_responses))
        return findings


async def _kept_by(settings: Settings, target: UpstreamTarget, upstream: Upstream) -> KeptBy:
    choice = ConversationChoice(settings.conversations, target, Database(settings.store_location))
    if settings.conversations == "own":
        return _own("CONVERSATIONS=own says so")
    if choice.is_own:
        return _own("its host is known to have no Conversations API")
    try:
        made = parsed(
            await upstream.request("POST", "/conversations", body={}, timeout=_SECONDS), checked_conversation
        )
        await upstream.request("DELETE", f"/conversations/{made['id']}", timeout=_SECONDS)
    except (UpstreamAuthError, UpstreamUnreachableError):
        raise
    except UpstreamError as exc:
        return _without(choice, exc)
    return KeptBy(False, [Finding("ok", "The upstream keeps conversations.")])


def _own(why: str) -> KeptBy:
    return KeptBy(True, [Finding("ok", f"This service keeps conversations: {why}.")])


def _without(choice: ConversationChoice, exc: UpstreamError) -> KeptBy:
    """Return what it means that an upstream made no conversation."""
    answered = f"the upstream answered {exc.upstream_status or exc.code} when it was asked for one"
    if choice.is_own is False:
        text = f"The upstream has no conversations: {answered}. Set CONVERSATIONS=own."
    elif exc.upstream_status in NO_ROUTE:
        return _own(answered)
    else:
        text = f"It is undecided who keeps conversations: {answered}. Set CONVERSATIONS=own or upstream."
    return KeptBy(choice.is_own, [Finding("error", text)])


async def _store_finding(settings: Settings) -> Finding:
    database = Database(settings.store_location)
    try:
        found, newest = await database.version(), newest_version()
    except ValueError as exc:
        return Finding("error", str(exc))
    if found is None:
        state = f"is empty; a start makes schema {newest}"
    elif found == newest:
        state = f"answers and has schema {found}, the newest"
    else:
        state = f"answers and has schema {found}; this release's newest is {newest}"
    return Finding("ok", f"The store ({database.kind}) {state}.")


def _storing(stores: bool | None) -> Finding:
    if stores is None:
        text = "Whether the upstream stores responses is found out by the first turn, or by --check --live."
    elif stores:
        text = "The upstream stores responses, so runs are read and followed there."
    else:
        text = "The upstream stores no responses, so the store keeps every run."
    return Finding("ok", text)
