"""The service that the routers call: everything that happens upstream, in the words of the public wire."""

from app.core.assistant import Assistant
from app.core.background import BackgroundTasks
from app.core.config import Settings
from app.core.files.attachments import Attachments
from app.core.files.knowledge_store import KnowledgeStore
from app.core.files.service import Files
from app.core.observability.run_metrics import RunMetrics
from app.core.runs.create import RunStarter
from app.core.runs.lookup import RunLookup
from app.core.runs.params import RunParams
from app.core.runs.resume import ResumeService
from app.core.runs.tool_outputs import ToolRounds
from app.core.services.chat import Chat
from app.core.services.messages import Messages
from app.core.services.runs import Runs
from app.core.services.threads import Threads
from app.core.services.transcripts import Transcripts
from app.core.unsupported_params import UnsupportedParams
from app.core.upstream.conversation_metadata import ConversationMetadata
from app.core.upstream.conversations import Conversations
from app.core.upstream.port import Upstream
from app.core.upstream.responses import BackgroundSupport, Responses


class OpenAIClient:
    """One upstream behind the services `chat`, `threads`, `messages`, `runs`, `files` and `knowledge`.

    Holds nothing that it cannot lose, but for history writes that `aclose` finishes.
    """

    def __init__(
        self, upstream: Upstream, assistant: Assistant, settings: Settings, meters: RunMetrics
    ) -> None:
        wait = settings.lock_wait_seconds
        deadline = settings.run_expires_seconds
        self.background = BackgroundTasks()
        self._upstream = upstream
        conversations = Conversations(
            upstream, lock_wait_seconds=wait, lock_waited=meters.metrics.lock_waited
        )
        self._run_log = ConversationMetadata(conversations)
        responses = Responses(
            upstream,
            BackgroundSupport(settings.upstream_background),
            lock_wait_seconds=wait,
            deadline_seconds=deadline,
            meters=meters,
        )
        params = RunParams(assistant, settings)
        unsupported = UnsupportedParams(settings)
        reader = RunLookup(conversations, responses, self._run_log, assistant.id, settings)
        rounds = ToolRounds(conversations, self._run_log)
        self.starter = RunStarter(
            responses, self._run_log, rounds, self.background, meters, deadline_seconds=deadline
        )
        self.knowledge = KnowledgeStore(upstream, assistant, settings)
        self.files = Files(upstream, self.knowledge, self.background, settings)
        attachments = Attachments(
            upstream, self.files, self.knowledge, self._run_log, self.background, settings
        )
        self.messages = Messages(
            conversations, self._run_log, attachments, unsupported, assistant.id, settings
        )
        self.threads = Threads(conversations, self._run_log, self.messages, attachments, unsupported)
        self.runs = Runs(
            conversations,
            responses,
            self.starter,
            reader,
            rounds,
            self.threads,
            self.messages,
            attachments,
            params,
            unsupported,
        )
        self.run_events = ResumeService(responses, self.runs, self.starter, meters, deadline_seconds=deadline)
        self.transcripts = Transcripts(conversations, self._run_log, self.files, assistant, settings)
        self.chat = Chat(conversations, self.starter, reader, self.runs, params, settings)

    async def aclose(self, grace_seconds: float) -> None:
        """Finish what is left over from requests, then close the upstream."""
        await self.background.drain(grace_seconds)
        await self._run_log.drain()
        await self._upstream.aclose()
