"""The lifespan: opens what requests share, and closes it in reverse order."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import structlog
from fastapi import FastAPI

from app.api.dependencies import State
from app.api.open_streams import StreamRegistry
from app.core.assistant import load_assistant
from app.core.background import BackgroundTasks, stop_task
from app.core.budgets.ledger import Ledger
from app.core.budgets.rules import BudgetRules
from app.core.budgets.service import BudgetReached
from app.core.config import VERSION, Settings
from app.core.insight.event_webhook import EventWebhook
from app.core.limits.idempotency import Idempotency
from app.core.limits.rate_limit import RateLimits
from app.core.limits.shared_redis import SharedRedis, opened_redis
from app.core.observability.health import Health, ModelWatch
from app.core.observability.metrics import Metrics
from app.core.observability.run_metrics import RunMetrics, load_prices
from app.core.observability.upstream_metrics import MeasuredUpstream
from app.core.openai_client import OpenAIClient
from app.core.runs.tool_leases import RedisLeases, SharedLeases
from app.core.safety.guards import Guards
from app.core.safety.intake import Intake
from app.core.safety.moderation import Moderation
from app.core.security.authenticator import Authenticator, warn_of_open_doors
from app.core.telemetry import Tracing
from app.core.tools.toolbox import Toolbox
from app.core.upstream.factory import model_name, open_upstream, opened_target
from app.core.upstream.port import Upstream
from app.core.upstream.target import UpstreamTarget, may_need_store

if TYPE_CHECKING:
    from app.core.directory.thread_directory import ThreadDirectory
    from app.core.insight.insight import Insight
    from app.core.own_conversations.factory import Kept

_log = structlog.get_logger("soloist")


def lifespan_of(
    settings: Settings, metrics: Metrics
) -> Callable[[FastAPI], AbstractAsyncContextManager[State]]:
    """Return the app's lifespan; raises `ValueError` for an assistant, tools or prices it cannot read."""
    toolbox = Toolbox.load(settings, metrics)
    guards = Guards.load(settings, metrics)
    assistant, prices = load_assistant(settings, toolbox.specs), load_prices(settings.prices_file)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[State]:
        # Everything closes in reverse order, so what others need is opened before them.
        async with AsyncExitStack() as stack:
            stack.push_async_callback(toolbox.aclose)
            redis = await stack.enter_async_context(opened_redis(settings))
            ledger = await _shared_ledger(settings, redis)
            target = await stack.enter_async_context(opened_target(settings))
            tracing = Tracing(target.kind, target.base_url, assistant.name or assistant.id, assistant.id)
            upstream: Upstream = MeasuredUpstream(open_upstream(target, settings), metrics, tracing)
            model = model_name(settings, assistant.model)
            moderation = Moderation.load(settings, upstream, model)
            intake = Intake(guards, moderation, metrics) if guards or moderation else None
            background = BackgroundTasks()
            kept = await _opened_store(stack, settings, target, upstream, background, metrics)
            upstream = kept.upstream if kept else upstream
            events = _opened_events(stack, settings, metrics)
            insight = await _opened_insight(stack, settings, kept, events, tracing, metrics)
            run_metrics = RunMetrics(
                metrics,
                tracing,
                prices,
                lifetime_seconds=settings.run_expires_seconds,
                usage=insight.usage_log if insight else None,
            )
            directory = kept.directory if kept else None
            stored = kept.leases if kept and kept.database.is_open else None
            leases: SharedLeases | None = RedisLeases(redis) if redis else stored
            ledger = ledger or _stored_ledger(kept)
            client = OpenAIClient(
                upstream,
                assistant,
                settings,
                run_metrics,
                background,
                toolbox,
                redis,
                leases,
                directory,
                intake,
                ledger,
                insight,
            )
            app.state.budgets = client.budgets
            client.budgets.on_reached = partial(_tell_of_budget, events) if events else None
            registry = app.state.registry = _open_registry(stack, settings, client)
            if moderation is not None:
                await moderation.start()
            await stack.enter_async_context(client.held_runs.listening())
            idempotency = Idempotency(settings, redis)
            await idempotency.start()
            authenticator = Authenticator(settings, kept.choice if kept else None)
            stack.push_async_callback(authenticator.aclose)
            watch = ModelWatch(model, warn_days=settings.model_shutdown_warn_days)
            responder = settings.embedded_responder if target.kind == "embedded" else None
            health = Health(upstream, target, watch, responder, redis, kept)
            metrics.describe(upstream=target.kind, model=model)
            metrics.watch(registry, health)
            watches = [metrics.watch_event_loop(), health.watch(), idempotency.watch()]
            watches += [ledger.watch()] if ledger else []
            watches += [client.tool_leases.renew()] if toolbox.names else []
            watches += [moderation.watch()] if moderation else []
            watches += [_retention(settings, directory, client)] if directory else []
            for watching in watches:
                stack.push_async_callback(stop_task, asyncio.create_task(watching))
            warn_of_open_doors(settings)
            _log.info("started", version=VERSION, upstream=health.describe(), assistant=assistant.id)
            yield State(
                settings=settings,
                assistant=assistant,
                client=client,
                registry=registry,
                health=health,
                metrics=metrics,
                authenticator=authenticator,
                rate_limits=RateLimits(settings, redis),
                idempotency=idempotency,
            )

    return lifespan


async def _shared_ledger(settings: Settings, redis: SharedRedis | None) -> Ledger | None:
    """Return what replicas share of budgets in Redis; raises `ValueError` for a Redis that may forget it."""
    if redis is None:
        return None
    from app.core.budgets.redis_ledger import RedisLedger

    return await RedisLedger.opened(redis, BudgetRules.of(settings, {}))


def _stored_ledger(kept: "Kept | None") -> Ledger | None:
    """Return what replicas share of budgets in the store, if there is one."""
    if kept is None or not kept.database.is_open:
        return None
    from app.core.budgets.stored_ledger import StoredLedger

    return StoredLedger(kept.database)


async def _opened_store(
    stack: AsyncExitStack,
    settings: Settings,
    target: UpstreamTarget,
    upstream: Upstream,
    background: BackgroundTasks,
    metrics: Metrics,
) -> "Kept | None":
    """Return the store before this upstream, None for a service that stores nothing."""
    if not may_need_store(settings, target):
        return None
    # Imported here: a service that stores nothing need not load SQLAlchemy.
    from app.core.own_conversations.factory import opened_conversations

    opening = opened_conversations(settings, target, upstream, background, metrics.items_dropped)
    return await stack.enter_async_context(opening)


def _retention(
    settings: Settings, directory: "ThreadDirectory", client: OpenAIClient
) -> Coroutine[Any, Any, None]:
    """Return the work that deletes what is old, until cancelled."""
    from app.core.services.retention import Retention

    return Retention(directory, client.threads, settings.thread_retention_days).run()


def _opened_events(stack: AsyncExitStack, settings: Settings, metrics: Metrics) -> EventWebhook | None:
    """Return the operator's webhook, which gives up at the end; None without one."""
    events = EventWebhook.of(settings, metrics.event_ended)
    if events is not None:
        stack.push_async_callback(events.aclose)
    return events


def _tell_of_budget(events: EventWebhook, reached: BudgetReached) -> None:
    events.send("budget.reached", reached._asdict())


async def _opened_insight(
    stack: AsyncExitStack,
    settings: Settings,
    kept: "Kept | None",
    events: EventWebhook | None,
    tracing: Tracing,
    metrics: Metrics,
) -> "Insight | None":
    """Return what the store keeps of turns and feedback, and write it until the end; None without a store."""
    if kept is None or (directory := kept.directory) is None:
        return None
    from app.core.insight.insight import Insight

    insight = Insight(
        kept.database,
        lambda: directory.is_used,
        settings.signing_keys,
        events,
        tracing,
        metrics.usage_rows_lost.inc,
    )
    stack.push_async_callback(insight.usage_log.aclose)
    stack.push_async_callback(stop_task, asyncio.create_task(insight.usage_log.run()))
    return insight


def _open_registry(stack: AsyncExitStack, settings: Settings, client: OpenAIClient) -> StreamRegistry:
    """Return the registry of streams; at the end the client has the rest of the grace period to close."""
    registry = StreamRegistry(
        max_streams=settings.max_streams,
        max_per_holder=settings.max_streams_per_owner,
        keepalive_seconds=settings.sse_keepalive_seconds,
        slow_reader_seconds=settings.slow_reader_seconds,
        max_seconds=settings.stream_max_seconds,
    )
    grace = settings.shutdown_grace_seconds
    stack.push_async_callback(lambda: client.aclose(registry.grace_left(grace)))
    stack.push_async_callback(stop_task, asyncio.create_task(registry.run()))
    return registry
