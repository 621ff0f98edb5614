"""The object that the routers call for everything that happens upstream."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from app.core.assistant import Assistant
from app.core.background import BackgroundTasks
from app.core.budgets.ledger import Ledger, MemoryLedger
from app.core.budgets.rules import BudgetRules
from app.core.budgets.service import BudgetReached, Budgets
from app.core.config import Settings
from app.core.files.attachments import Attachments
from app.core.files.knowledge_store import KnowledgeStore
from app.core.files.pictures import Pictures
from app.core.files.service import Files
from app.core.insight.feedback import FeedbackService
from app.core.limits.shared_locks import SharedLocks
from app.core.limits.shared_redis import SharedRedis
from app.core.observability.run_metrics import RunMetrics
from app.core.runs.create import RunCreator
from app.core.runs.held_runs import HeldRuns
from app.core.runs.live_runs import LiveRuns
from app.core.runs.lookup import RunLookup
from app.core.runs.message_runs import MessageRuns
from app.core.runs.overrides import RunOverrides
from app.core.runs.params import RunParams
from app.core.runs.replaced_turns import ReplacedTurns
from app.core.runs.resume import ResumeService
from app.core.runs.stopped_turns import StoppedTurns
from app.core.runs.tool_creator import ToolRunCreator
from app.core.runs.tool_leases import SharedLeases, ToolLeases
from app.core.runs.tool_loop import ToolServices
from app.core.runs.tool_outputs import ToolRounds
from app.core.safety.intake import Intake
from app.core.services.chat import Chat
from app.core.services.messages import Messages
from app.core.services.runs import Runs
from app.core.services.thread_list import ThreadList
from app.core.services.threads import Threads
from app.core.services.transcripts import Transcripts
from app.core.services.users import Users
from app.core.tools.toolbox import Toolbox
from app.core.unsupported_params import UnsupportedParams
from app.core.upstream.background_mode import BackgroundMode
from app.core.upstream.conversation_lock import ConversationLock
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.conversations import Conversations
from app.core.upstream.optional_fields import OptionalFields
from app.core.upstream.port import Upstream
from app.core.upstream.responses import Responses

if TYPE_CHECKING:
    from app.core.directory.thread_directory import ThreadDirectory
    from app.core.insight.insight import Insight


@dataclass(frozen=True, slots=True)
class Beside:
    """What the service has beside its upstream; None where nothing is configured for it.

    Args:
        redis: what replicas share.
        leases: tells replicas which runs' calls are being carried out.
        directory: the list of threads.
        intake: sees messages before they go upstream.
        ledger: what replicas share of budgets.
        insight: what is kept of turns and feedback.
        on_budget_reached: is told of a budget that comes to 80 or 100 percent.

    """

    redis: SharedRedis | None = None
    leases: SharedLeases | None = None
    directory: "ThreadDirectory | None" = None
    intake: Intake | None = None
    ledger: Ledger | None = None
    insight: "Insight | None" = None
    on_budget_reached: Callable[[BudgetReached], None] | None = None


class OpenAIClient:
    """The services `chat`, `threads`, `messages`, `runs`, `files` and more, over one upstream.

    Its only state is background work and history writes, which `aclose` finishes.
    """

    def __init__(
        self,
        upstream: Upstream,
        assistant: Assistant,
        settings: Settings,
        metrics: RunMetrics,
        background: BackgroundTasks,
        toolbox: Toolbox,
        beside: Beside,
    ) -> None:
        deadline = settings.run_expires_seconds
        redis, intake, insight = beside.redis, beside.intake, beside.insight
        self.background = background
        self.insight = insight
        self._upstream = upstream
        lock = ConversationLock(
            self.background, redis, wait_seconds=settings.lock_wait_seconds, waited=metrics.lock_waited
        )
        conversations = Conversations(upstream, lock)
        changing = SharedLocks(redis, "metadata", settings.lock_wait_seconds)
        self._metadata = ConversationMetadata(conversations, changing)
        own = assistant.response_params({})
        optional = OptionalFields({name: own.get(name) for name in ("temperature", "top_p", "reasoning")})
        responses = Responses(upstream, lock, metrics, deadline_seconds=deadline, optional=optional)
        params = RunParams(assistant, settings, toolbox, intake.moderation if intake else None)
        self.tool_leases = ToolLeases(beside.leases, settings.lock_wait_seconds)
        unsupported = self.unsupported = UnsupportedParams(settings)
        message_runs = MessageRuns(responses)
        lookup = RunLookup(conversations, responses, self._metadata, params, message_runs, self.tool_leases)
        rounds = ToolRounds(conversations, self.tool_leases)
        self.budgets = Budgets(
            BudgetRules.of(settings, metrics.prices),
            beside.ledger or MemoryLedger(),
            responses,
            conversations,
            background,
            metrics.metrics,
            deadline,
            beside.on_budget_reached,
        )
        conversations.on_changed = self.budgets.forget
        self.held_runs = HeldRuns(self.background, redis)
        creating = RunCreator(
            responses,
            BackgroundMode(settings.upstream_background),
            self._metadata,
            rounds,
            self.background,
            StoppedTurns(conversations, self._metadata, lock),
            self.held_runs,
            RunOverrides(redis, int(deadline)),
            metrics,
            self.budgets,
            deadline_seconds=deadline,
        )
        self.creator = creating
        if toolbox.names:
            tools = ToolServices(
                toolbox,
                rounds,
                self._metadata,
                self.tool_leases,
                self.held_runs,
                max_rounds=settings.tools_max_rounds,
                max_parallel=settings.tools_max_parallel,
            )
            self.creator = ToolRunCreator.of(creating, tools)
        self.knowledge = KnowledgeStore(upstream, assistant, settings)
        self.files = Files(upstream, Pictures(conversations), self.knowledge, self.background, settings)
        attachments = Attachments(
            upstream, self.files, self.knowledge, self._metadata, self.background, assistant, settings
        )
        self.messages = Messages(
            conversations,
            self._metadata,
            message_runs,
            attachments,
            unsupported,
            assistant.id,
            settings,
            intake,
        )
        live_runs = LiveRuns(responses, self.held_runs, message_runs)
        self.threads = Threads(
            conversations,
            self._metadata,
            self.messages,
            live_runs,
            attachments,
            unsupported,
            beside.directory,
            insight,
        )
        self.thread_list = ThreadList(beside.directory)
        self.users = Users(beside.directory, conversations, self.threads, attachments, self.files, insight)
        self.runs = Runs(
            conversations,
            responses,
            self.creator,
            self.held_runs,
            lookup,
            rounds,
            self.threads,
            self.messages,
            attachments,
            params,
            unsupported,
            SharedLocks(redis, "answering", settings.lock_wait_seconds),
        )
        self.resume = ResumeService(responses, lookup, self.creator, metrics, deadline_seconds=deadline)
        self.feedback = FeedbackService(self.messages, self.runs, unsupported, insight)
        self.transcripts = Transcripts(
            conversations, self._metadata, self.messages, self.files, self.feedback, assistant, settings
        )
        replaced = ReplacedTurns(conversations, lock, self.creator, beside.directory)
        self.chat = Chat(conversations, self.creator, self.runs, params, settings, replaced, intake)

    async def aclose(self, grace_seconds: float) -> None:
        """Finish background work, for at most `grace_seconds`, and close the upstream."""
        # Background tasks use the metadata and the upstream, so they end first.
        await self.background.drain(grace_seconds)
        await self._metadata.drain()
        await self._upstream.aclose()
