"""`python main.py check`: try everything that a start needs, and report what is wrong."""

import asyncio
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from contextlib import AsyncExitStack

import redis.asyncio
from fastapi import FastAPI
from redis.exceptions import RedisError

from app.core.assistant import Assistant, load_assistant
from app.core.budgets.rules import BudgetRules
from app.core.config import Settings
from app.core.errors import ServiceError
from app.core.observability.health import ModelWatch
from app.core.observability.run_metrics import Price, load_prices, price_of
from app.core.safety.moderation import NO_MODERATION, Moderation
from app.core.security.authenticator import UNSHARED
from app.core.upstream.errors import (
    UpstreamAuthError,
    UpstreamModelMissingError,
    UpstreamNotFoundError,
    UpstreamUnreachableError,
)
from app.core.upstream.factory import model_name, open_upstream, opened_target
from app.core.upstream.models import read_model
from app.core.upstream.port import Upstream
from app.server.findings import Finding
from app.server.hints import hints_of
from app.server.startup import ProcessCount, check_usable, settings_errors_told

_SECONDS = 10.0
_KEY_NAMES = {"azure": "AZURE_OPENAI_KEY"}


def add_to(add_parser: Callable[..., ArgumentParser]) -> None:
    """Add the command to a parser's commands."""
    parser = add_parser("check", help="try settings, upstream and Redis, and say what is wrong")
    add_options(parser)
    parser.set_defaults(run=run)


def add_options(parser: ArgumentParser) -> None:
    """Add the options of the command to a parser."""
    parser.add_argument("--live", action="store_true", help="also make ten short turns, which cost tokens")


def run(given: Namespace, create_app: Callable[[Settings], FastAPI]) -> int:
    """Print the findings, and return the exit status: 1 if one is an error, else 0."""
    with settings_errors_told():
        ProcessCount()
        settings = Settings()
        check_usable(settings)
        create_app(settings)
    findings = asyncio.run(check_service(settings, is_live=given.live))
    for finding in findings:
        sys.stdout.write(f"{finding.level}: {finding.text}\n")
    return int(any(finding.level == "error" for finding in findings))


async def check_service(settings: Settings, *, is_live: bool = False) -> list[Finding]:
    """Check the assistant, the prices, the upstream and Redis; a live check also makes turns upstream."""
    try:
        assistant = load_assistant(settings)
        prices = load_prices(settings.prices_file)
    except ValueError as exc:
        return [Finding("error", str(exc))]
    findings = [Finding("ok", f"The settings fit together; the assistant is {assistant.id}.")]
    findings += _doors(settings)
    findings += [Finding("warning", hint) for hint in hints_of(settings)]
    model = model_name(settings, assistant.model)
    price = price_of(prices, model)
    if prices and price is None:
        findings.append(Finding("warning", f"PRICES_FILE has no price for {model}: its cost is not counted."))
    findings += await _check_upstream(settings, assistant, price, is_live=is_live)
    findings += await _check_redis(settings)
    return findings


def _doors(settings: Settings) -> list[Finding]:
    warnings = {
        "AUTH_MODE=none lets everybody in who reaches HOST and PORT.": settings.auth_mode == "none",
        "No key is set, so the embedded upstream answers and not a real assistant.": (
            settings.upstream_kind == "embedded"
        ),
        "SECRET_KEYS is empty: ids are not bound to their owners.": (
            not settings.secret_keys and settings.upstream_kind != "embedded"
        ),
        f"{UNSHARED[0].upper()}{UNSHARED[1:]}.": bool(settings.trusted_proxies and not settings.redis_url),
    }
    return [Finding("warning", text) for text, applies in warnings.items() if applies]


async def _check_upstream(
    settings: Settings, assistant: Assistant, price: Price | None, *, is_live: bool
) -> list[Finding]:
    # Imported here: a service that stores nothing need not load SQLAlchemy.
    from app.server.store_check import check_conversations, check_live, check_tools

    model = model_name(settings, assistant.model)
    async with AsyncExitStack() as stack:
        target = await stack.enter_async_context(opened_target(settings))
        upstream = open_upstream(target, settings)
        stack.push_async_callback(upstream.aclose)
        findings: list[Finding] = []
        try:
            findings += await _check_model(upstream, model, settings.model_shutdown_warn_days)
            kept = await check_conversations(settings, target, upstream)
            findings += kept.findings
            findings += await check_tools(assistant, upstream)
            findings += await _check_moderation(settings, upstream, model)
            if is_live:
                turns = (model, price)
                findings += await check_live(settings, target, upstream, turns, is_own=bool(kept.is_own))
        except ServiceError as exc:
            return [Finding("error", f"The upstream ({target.kind}) {_failure(exc, target.kind)}")]
        return findings


def _failure(exc: ServiceError, kind: str) -> str:
    if isinstance(exc, UpstreamUnreachableError):
        return f"cannot be reached: {exc.upstream_reason or 'check its address'}."
    if isinstance(exc, UpstreamAuthError):
        key = _KEY_NAMES.get(kind, "OPENAI_API_KEY")
        return f"refuses the credentials ({exc.upstream_code or exc.upstream_status}): check {key}."
    return f"fails with {exc.code}: {exc.message}"


async def _check_model(upstream: Upstream, model: str, warn_days: int) -> list[Finding]:
    try:
        found = await read_model(upstream, model, seconds=_SECONDS)
    except UpstreamModelMissingError:
        return [Finding("warning", f"The upstream does not list the model {model}: check ASSISTANT_MODEL.")]
    except UpstreamNotFoundError as exc:
        return [Finding("warning", f"The upstream does not tell whether it knows {model}. {exc.message}")]
    watch = ModelWatch(model, warn_days=warn_days)
    watch.note(found.get("shutdown_date"))
    findings = [Finding("ok", f"The upstream answers and knows the model {model}.")]
    return [*findings, Finding("warning", watch.warning)] if watch.warning else findings


async def _check_moderation(settings: Settings, upstream: Upstream, model: str) -> list[Finding]:
    moderation = Moderation.load(settings, upstream, model)
    if moderation is None:
        return []
    await moderation.ask()
    found = {
        "policy": Finding("ok", "The upstream moderates messages and answers, by a policy for responses."),
        "endpoint": Finding("ok", "The upstream moderates messages by its endpoint, and answers not at all."),
        "none": Finding("error" if moderation.is_blocking else "warning", NO_MODERATION),
        None: Finding("warning", "The upstream does not tell whether it moderates."),
    }
    return [found[moderation.ability]]


async def _check_redis(settings: Settings) -> list[Finding]:
    if settings.redis_url is None:
        return []
    url = settings.redis_url
    client = redis.asyncio.Redis.from_url(url, socket_timeout=_SECONDS, socket_connect_timeout=_SECONDS)
    problems: list[str] = []
    try:
        await client.ping()
        if BudgetRules.of(settings, {}).is_on:
            problems = await _unfit_for_budgets(client)
    except (RedisError, OSError) as exc:
        return [
            Finding("error", f"Redis at RATE_LIMIT_STORAGE does not answer ({type(exc).__name__}): check it.")
        ]
    finally:
        await client.aclose()
    findings = [Finding("error", f"RATE_LIMIT_STORAGE: {problem}") for problem in problems]
    return [Finding("ok", "Redis answers, so limits hold over all replicas."), *findings]


async def _unfit_for_budgets(client: redis.asyncio.Redis) -> list[str]:
    # Imported here: without budgets in Redis it is not needed.
    from app.core.budgets.redis_ledger import unfit_for_budgets

    return await unfit_for_budgets(client)
