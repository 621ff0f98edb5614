"""Runs: upstream responses in the form of the Assistants API."""

import itertools
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

from app.core.caller import RequestScope
from app.core.config import OnDisconnect
from app.core.errors import BadRequestError, not_found, thread_is_empty
from app.core.files.attachments import Attachments
from app.core.limits.shared_locks import SharedLocks
from app.core.runs.create import RunCreator
from app.core.runs.follow import FollowedRun
from app.core.runs.held_runs import HeldRuns
from app.core.runs.lookup import RunLookup, RunView
from app.core.runs.params import RunParams, turn_body, uses_files
from app.core.runs.tool_outputs import ToolRounds, answered_step, checked_outputs, output_items
from app.core.services.messages import Cursor, Messages
from app.core.services.threads import Threads
from app.core.unsupported_params import UnsupportedParams
from app.core.upstream.conversations import Conversations
from app.core.upstream.errors import ConversationLockedError, UpstreamRefusedError, not_found_as
from app.core.upstream.responses import Responses
from app.models.runs import RunCreate, ThreadRunCreate, ToolOutputsSubmit
from app.models.threads import ThreadCreate
from app.translate.attachments import resources_of
from app.translate.context import RunContext
from app.translate.events import Json, ThreadCreated
from app.translate.objects import LIVE, page, run_object, run_status

_HELD_ELSEWHERE = (
    "The run ends with the request that streams it, which another replica serves: close that request. "
    "Replicas that share a Redis (RATE_LIMIT_STORAGE) cancel each other's runs."
)


@dataclass(eq=False)
class Runs:
    """The service behind `/threads/{thread_id}/runs`."""

    conversations: Conversations
    responses: Responses
    creator: RunCreator
    held_runs: HeldRuns
    lookup: RunLookup
    rounds: ToolRounds
    threads: Threads
    messages: Messages
    attachments: Attachments
    params: RunParams
    unsupported: UnsupportedParams
    locks: SharedLocks

    async def create(self, scope: RequestScope, thread_id: str, body: RunCreate) -> Json:
        """Start a run. Upstream: POST responses with `background` and `store`."""
        context, params = await self._prepared(scope, thread_id, body)
        return run_object(await self.creator.start(scope, context, params), context)

    async def create_stream(
        self, scope: RequestScope, thread_id: str, body: RunCreate, *, on_disconnect: OnDisconnect
    ) -> FollowedRun:
        """Start a run and return its stream. Upstream: POST responses with `stream`."""
        context, params = await self._prepared(scope, thread_id, body)
        return await self.creator.open(scope, context, params, on_disconnect=on_disconnect)

    async def create_with_thread(self, scope: RequestScope, body: ThreadRunCreate) -> Json:
        """Create a thread and start a run on it."""
        _, context, params = await self._prepared_with_thread(scope, body)
        return run_object(await self.creator.start(scope, context, params), context)

    async def stream_with_thread(
        self, scope: RequestScope, body: ThreadRunCreate, *, on_disconnect: OnDisconnect
    ) -> FollowedRun:
        """Create a thread, start a run on it and return its stream."""
        thread, context, params = await self._prepared_with_thread(scope, body)
        return await self.creator.open(
            scope, context, params, before=[ThreadCreated(thread)], on_disconnect=on_disconnect
        )

    async def view(self, scope: RequestScope, thread_id: str, run_id: str) -> RunView:
        """Look up a run.

        Upstream: GET responses/{r}, and GET conversations/{c} if the response alone does not tell its status.
        """
        return await self.lookup.view(scope, thread_id, run_id)

    async def list_page(self, scope: RequestScope, thread_id: str, cursor: Cursor) -> Json:
        """List the thread's last ten runs, which its metadata names."""
        runs = [view.run() for view in await self.lookup.views(scope, thread_id)]
        return _page(runs, cursor, "run")

    def include(self, scope: RequestScope, values: list[str]) -> None:
        """Heed the `include[]` of a request."""
        self.unsupported.check_include(values, scope)

    async def list_steps(self, scope: RequestScope, thread_id: str, run_id: str, cursor: Cursor) -> Json:
        """List the steps of all rounds of a run."""
        steps = await self.lookup.steps(scope, await self.view(scope, thread_id, run_id))
        return _page(steps[::-1], cursor, "run step")

    async def get_step(self, scope: RequestScope, thread_id: str, run_id: str, step_id: str) -> Json:
        """Read one step."""
        steps = await self.lookup.steps(scope, await self.view(scope, thread_id, run_id))
        found = next((step for step in steps if step["id"] == step_id), None)
        if found is None:
            raise not_found("step")
        return found

    async def cancel(self, scope: RequestScope, thread_id: str, run_id: str) -> Json:
        """Cancel a run. It is `cancelling` until the upstream says `cancelled`; 400 if it has ended.

        A foreground run is stopped by the replica that streams it, without an upstream call.
        """
        held = await self.held_runs.stop(scope.response(run_id), scope.conversation(thread_id, of="run"))
        if held is not None:
            return held
        view = await self.view(scope, thread_id, run_id)
        if view.status == "requires_action":
            await self.rounds.give_up(view)
            return run_object(view.response, view.context, status="cancelled")
        if not view.is_live:
            raise _not_cancellable(view.status)
        try:
            response = await self.responses.cancel(view.response["id"])
        except UpstreamRefusedError as exc:
            # It ended meanwhile, or it is a foreground response, which the upstream does not cancel.
            view = await self.view(scope, thread_id, run_id)
            raise _not_cancellable(view.status) from exc
        status = run_status(response)
        return run_object(response, view.context, status=status if status == "cancelled" else "cancelling")

    async def submit(self, scope: RequestScope, thread_id: str, run_id: str, body: ToolOutputsSubmit) -> Json:
        """Submit the tool outputs that a run waits for; it keeps its id. Upstream: POST responses."""
        async with self._answering(scope, thread_id, run_id, body) as (view, params, _):
            return run_object(await self.creator.start(scope, view.context, params), view.context)

    async def submit_stream(
        self,
        scope: RequestScope,
        thread_id: str,
        run_id: str,
        body: ToolOutputsSubmit,
        *,
        on_disconnect: OnDisconnect,
    ) -> FollowedRun:
        """Submit tool outputs and return the stream of the run."""
        async with self._answering(scope, thread_id, run_id, body) as (view, params, outputs):
            before = answered_step(view, await self.lookup.own_outputs(view) | dict(outputs))
            return await self.creator.open(
                scope, view.context, params, before=before, on_disconnect=on_disconnect
            )

    @asynccontextmanager
    async def _answering(
        self, scope: RequestScope, thread_id: str, run_id: str, body: ToolOutputsSubmit
    ) -> AsyncIterator[tuple[RunView, Json, Mapping[str, str]]]:
        """Yield a waiting run, what its next round sends, and the outputs, for one submission at a time."""
        self.unsupported.check(body, scope)
        async with self.locks.holding(run_id):
            view = await self.view(scope, thread_id, run_id)
            given = checked_outputs(view, body.tool_outputs)
            try:
                async with self.creator.answering(scope, view, given) as outputs:
                    yield view, await self._next_round(scope, view, outputs), outputs
            except ConversationLockedError:
                # Another replica may have been first: then this says that the run waits no more.
                checked_outputs(await self.view(scope, thread_id, run_id), body.tool_outputs)
                raise

    async def resources(self, conversation_id: str) -> Json:
        """Return the thread's tool resources; called only if a tool could use them."""
        with not_found_as("thread"):
            conversation = await self.conversations.get(conversation_id)
        return resources_of(conversation.get("metadata"))

    async def _prepared(
        self, scope: RequestScope, thread_id: str, body: RunCreate
    ) -> tuple[RunContext, Json]:
        self.params.check_assistant(body.assistant_id)
        conversation_id = scope.conversation(thread_id)
        self.unsupported.check(body, scope)
        # Before anything is written, as it may refuse the overrides.
        params = self.params.for_run(body, scope, {})
        added = body.additional_messages or []
        attached = await self.attachments.find(scope, added, "additional_messages")
        items = await self.messages.to_items(scope, added, attached, "additional_messages", thread_id)
        with not_found_as("thread"):
            await self.attachments.remember(conversation_id, list(itertools.chain.from_iterable(attached)))
        if uses_files(params) and (resources := await self.resources(conversation_id)):
            params = self.params.for_run(body, scope, resources)
        return self.params.context(scope, thread_id), turn_body(params, conversation_id, items)

    async def _prepared_with_thread(
        self, scope: RequestScope, body: ThreadRunCreate
    ) -> tuple[Json, RunContext, Json]:
        scope.check_new_thread()
        self.params.check_assistant(body.assistant_id)
        self.unsupported.check(body, scope)
        new = body.thread or ThreadCreate()
        if body.tool_resources:
            new = new.model_copy(update={"tool_resources": body.tool_resources})
        # Before the thread is created, as it may refuse the overrides.
        params = self.params.for_run(body, scope, {})
        if not new.messages:
            raise thread_is_empty("Send some in 'thread'.", param="thread.messages")
        thread = await self.threads.create(scope, new, "thread.")
        conversation_id = scope.ids.conversation(thread["id"])
        if thread["tool_resources"] and uses_files(params):
            resources = await self.resources(conversation_id)
            params = self.params.for_run(body, scope, resources)
        return thread, self.params.context(scope, thread["id"]), turn_body(params, conversation_id, [])

    async def _next_round(self, scope: RequestScope, view: RunView, outputs: Mapping[str, str]) -> Json:
        items = output_items(view, outputs)
        resources = await self.resources(view.conversation_id) if uses_files(view.response) else {}
        overridden = await self.creator.overrides.of(view.first_id, view.response)
        params = self.params.for_next_round(view.response, scope, resources, overridden)
        return turn_body(params, view.conversation_id, items)


def _page(newest_first: list[Json], cursor: Cursor, what: str) -> Json:
    """Return a page of a whole list; `what` names its objects in errors."""
    objects = newest_first if cursor.order == "desc" else newest_first[::-1]
    ids = [found["id"] for found in objects]
    for name, value in (("after", cursor.after), ("before", cursor.before)):
        if value is not None and value not in ids:
            raise BadRequestError(
                f"'{name}' names no {what} of this list.", param=name, code="invalid_cursor"
            )
    start = ids.index(cursor.after) + 1 if cursor.after else 0
    stop = ids.index(cursor.before) if cursor.before else len(ids)
    window = objects[start:stop]
    if cursor.before and not cursor.after:
        return page(window[-cursor.limit :], has_more=len(window) > cursor.limit)
    return page(window[: cursor.limit], has_more=len(window) > cursor.limit)


def _not_cancellable(status: str) -> BadRequestError:
    message = _HELD_ELSEWHERE if status in LIVE else f"The run is {status} and cannot be cancelled."
    return BadRequestError(message, param="run_id", code="run_not_cancellable")
