"""Replay after a takeover: match the events of the new run with the kept events, so that none is appended twice.

Each event of the agent is compared with the next kept one of the same sub-agent. Texts are compared instead of
deltas, which may be split differently. A recorded step covers all events emitted in it. After the last kept event
was matched, events go to the writer; until then new events wait. Where the agent diverges, another start of the attempt
discards all kept events that were not matched.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import Context
from typing import Any, Protocol

import orjson
import structlog
from holdfast.shared.errors import LogFull, LogGone
from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import DELTAS
from holdfast.worker.attempt.current_job import tasks_beside
from holdfast.worker.attempt.journal import Journal, JournalLog, Step
from holdfast.worker.attempt.kept import EventsMissing, KeptEvents
from holdfast.worker.attempt.kept_queues import Kept, KeptQueues, Owners, digest_of, text_of
from holdfast.worker.sdk.run import Sink
from holdfast.worker.sdk.spans import NUMBERED

# A new event waits until all kept events are matched. Without progress for so long the comparison ends; later while
# other tasks of the agent run, such as one that waits for a model.
STALL_SECONDS = 30.0
BUSY_STALL_SECONDS = 120.0
CHECKS = 30  # checks for progress per STALL_SECONDS

log = structlog.get_logger()


class ReplayLog(JournalLog, Protocol):
    """The log of the job's session, as a replay needs it."""

    async def rewind(self, discard_from: EventId) -> EventId:
        """Write another start of the attempt, which discards the job's events from an id on. Returns its id.

        Raises LogFull where the job is to end and a full Redis refuses the start."""

    def keep(self, kind: str, body: bytes) -> None:
        """Handle an event that counts, in the log's order and before any other is written."""

    def on_caught_up(self) -> None:
        """Let events go directly to the writer."""


class Conclusion:
    """Discards the kept events that were not matched, and appends again what must follow them."""

    def __init__(
        self,
        writer: Sink,
        kept: KeptEvents,
        journal: Journal,
        log: ReplayLog,
        log_keys: dict[str, Any],
    ) -> None:
        self._writer = writer
        self._kept = kept
        self._journal = journal
        self._log = log
        self.owners = Owners(journal.marks, kept)
        self.queues = KeptQueues(kept, self.owners)
        self._log_keys = log_keys

    async def conclude(self, divergence: str | None) -> None:
        """Handle the end of the comparison. The caller holds `recording` of the journal."""
        boundary, started = await self._discard(divergence)
        await self._keep_below(boundary)
        if started is not None:
            with suppress(LogFull):  # the job ends, see _discard
                await self._write_again(boundary)
            self._kept.discard(boundary, started)

    async def _discard(self, divergence: str | None) -> tuple[EventId, EventId | None]:
        """Discard unmatched events. Returns the end of what counts, and the id of the start that discards."""
        until = self._kept.until
        boundary = until if divergence is None else await self._first_left()
        if boundary == until:
            return until, None
        log.warning("replay diverged", **self._log_keys, discard_from=str(boundary), reason=divergence)
        try:
            return boundary, await self._log.rewind(boundary)
        except LogFull:  # the job ends without waiting for memory: all kept events count
            return until, None

    async def _keep_below(self, boundary: EventId) -> None:
        """Report the events that count, as far as the log has them."""
        if boundary == self._kept.first:
            return
        try:
            async for entry in self._kept.walk(self._kept.first, boundary):
                self._log.keep(entry.kind, entry.body)
        except EventsMissing:
            self._log.truncate()

    async def _first_left(self) -> EventId:
        """Return the first unmatched event, or the first of those that may have been merged with it for a viewer."""
        while not (self.queues.missing or self.queues.is_read or self.queues.heads()):
            await self.queues.read()
        if self.queues.missing:
            return self._kept.first
        heads = [head.id for head in self.queues.heads()]
        steps = [ids.first for ids, key in self.owners.ranges if key not in self.owners.reached]
        return await self._kept.run_start(min([*heads, *steps])) if heads or steps else self._kept.until

    async def _write_again(self, boundary: EventId) -> None:
        """Append matched events again that follow an unmatched one, since the order of sub-agents may differ."""
        found = (*self.owners.reached.values(), *self.queues.inside.values())
        known = dict.fromkeys(step for inner in found for step in inner.enclosing())
        completed = [step for step in known if step.value is not None]  # in this attempt or an earlier one
        moved = [step for step in completed if any(ids.last >= boundary for ids in step.kept)]
        for step in known:
            step.discard(boundary)
        async for entry in self._behind(boundary):
            owner = self.owners.of(entry.id)
            emitter = self.queues.inside.get(entry.id) if owner is None else self.owners.reached.get(owner)
            body = self.queues.emitted_again(entry) if owner is None else entry.body
            if body is not None and (owner is None or emitter is not None):
                self._log.note(entry.kind, body)
                await self._writer.put(entry.kind, body, emitter)
        if moved:
            await self._journal.write(moved)

    async def _behind(self, boundary: EventId) -> AsyncIterator[Entry]:
        """Iterate over kept events from an id on; where the oldest are missing, over those of the steps called so
        far."""
        reached = [ids for ids, key in self.owners.ranges if key in self.owners.reached]
        kept = self._kept
        try:
            async for entry in kept.between(reached) if self.queues.missing else kept.walk(boundary, kept.until):
                yield entry
        except EventsMissing:
            if not self.queues.missing:
                raise LogGone("events that the job emitted before are missing") from None
            self._log.truncate()


class Replay:
    """Replaces the writer until all kept events are matched. `log_keys` are those of the log lines.

    `again`: where kept events are written again; default: the writer."""

    def __init__(
        self,
        writer: Sink,
        kept: KeptEvents,
        journal: Journal,
        log: ReplayLog,
        *,
        log_keys: dict[str, Any],
        again: Sink | None = None,
    ) -> None:
        self._writer = writer
        self._journal = journal
        self._log = log
        self._conclusion = Conclusion(again or writer, kept, journal, log, log_keys)
        self._owners, self._queues = self._conclusion.owners, self._conclusion.queues
        self._lock = asyncio.Lock()
        self._matching = True
        self._left: Exception | None = None
        self._progress = 0
        self._agent = asyncio.current_task()
        self._waiting: set[asyncio.Task[Any] | None] = set()
        self._watch: asyncio.Task[None] | None = None
        self._ending: asyncio.Task[None] | None = None
        self._over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        """Emit an event: skip what is matched of it, and pass on the rest. Raises Fenced, LogGone."""
        rest: bytes | None = body
        async with self._lock:
            if self._matching:
                rest = await self._match(kind, body, step)
        if rest is not None:
            await self.caught_up()
            if self._left is not None:
                raise self._left
            await self._writer.put(kind, rest, step)

    async def flush(self) -> None:
        """Wait until all events put so far are in the log. Raises Fenced, LogGone."""
        if not self._matching:
            await self.caught_up()
            await self._writer.flush()

    async def number(self, agent: str | None, kind: str, name: str) -> Any:
        """Return the number of the section or tool call that the agent starts next; None for a new one."""
        named, number = NUMBERED[kind]
        async with self._lock:
            head = await self._head(agent)
            if head is not None and head.kind == kind and head.fields.get(named) == name:
                return head.fields.get(number)
            if head is not None:
                self._end(f"{kind} instead of {head.kind}")
        await self.caught_up()  # from then on all used numbers are known
        return None

    async def reach(self, step: Step, expected: str | None) -> bool:
        """Compare a step that the agent calls with the one recorded at its position.

        Returns whether it is recorded and its events are among the kept ones."""
        async with self._lock:
            if not self._matching:
                return False
            if expected is not None and expected != step.key and not self._others_run():
                self._end(f"step {step.key} instead of {expected}")
                return False
            if not step.done:
                return False
            self._owners.reached[step.key] = step
            if step.parent is not None:
                step.parent.repeated(step.kept)
            self._progressed()
            return True

    async def caught_up(self) -> None:
        """Wait until all kept events are matched or discarded. Raises Fenced, LogGone."""
        task = asyncio.current_task()
        self._waiting.add(task)
        if self._watch is None and self._matching:
            self._watch = asyncio.create_task(self._end_at_stall(), context=Context())  # no task of the agent
            self._watch.add_done_callback(self._watched)
        try:
            await asyncio.wait({self._over})
        finally:
            self._waiting.discard(task)
        self._over.result()

    async def _end_at_stall(self) -> None:
        """End the comparison when it stalls while a part of the agent waits for its end. Raises Fenced.

        One task checks for all waiting parts, since a check looks at every task of the process."""
        progress, stalled_s = self._progress, 0.0
        while self._matching and self._waiting:
            await asyncio.wait({self._over}, timeout=STALL_SECONDS / CHECKS)
            if self._matching:
                await self._log.confirm()  # waits while Redis is unavailable, which does not count as a stall
            stalled_s += STALL_SECONDS / CHECKS
            if progress != self._progress:
                progress, stalled_s = self._progress, 0.0
            elif stalled_s >= (BUSY_STALL_SECONDS if self._others_run() else STALL_SECONDS):
                self._end("no progress")

    def _watched(self, watch: asyncio.Task[None]) -> None:
        self._watch = None
        if not watch.cancelled() and (error := watch.exception()) is not None:
            self._matching = False
            self._settle(error)

    def _others_run(self) -> bool:
        """Return whether the agent has tasks besides its first one, the current one, and those that wait here."""
        others = set() if self._agent is None else tasks_beside(self._agent)
        return not others <= {asyncio.current_task(), *self._waiting}

    async def finish(self) -> None:
        """Handle the return of the agent: discard what is not matched."""
        async with self._lock:
            self._end("the agent returned")
        await self.caught_up()

    async def leave(self, error: Exception) -> None:
        """End the comparison since the job ends. All kept events count; waiting calls of `put` raise the
        error."""
        self._left = error
        async with self._lock:
            self._end(None)
        await self.caught_up()

    def close(self, error: Exception) -> None:
        """Stop: all waiting calls raise the error, and nothing more is written."""
        self._matching = False
        for task in (self._watch, self._ending):
            if task is not None:
                task.cancel()
        self._settle(error)

    async def _match(self, kind: str, body: bytes, step: Step | None) -> bytes | None:
        """Compare an event with the kept ones. Returns the part of it to write, if any."""
        event = orjson.loads(body)
        agent, text, digest = event.get("agent"), text_of(kind, event), digest_of(kind, event)
        while (head := await self._head(agent)) is not None:
            if head.kind != kind or head.digest != digest:
                self._end(f"{kind} instead of {head.kind}")
                break
            if text is not None:
                taken = head.take(text)
                if not taken:
                    self._end(f"another text in {kind}")
                    break
                text = text[taken:]
            self._queues.took(agent, head, step)
            self._progressed()
            if not text:
                return None
        return body if text is None else orjson.dumps(event | {DELTAS[kind][0]: text})

    def _progressed(self) -> None:
        self._progress += 1
        if self._queues.is_read and not self._queues.heads() and self._owners.are_all_reached:
            self._end(None)

    async def _head(self, agent: str | None) -> Kept | None:
        """Return the next kept event of an agent."""
        queues = self._queues
        while self._matching and queues.head(agent) is None and not queues.is_read:
            reason = await queues.read()
            if reason is not None:
                self._end(reason)
            self._progressed()
        return queues.head(agent) if self._matching else None

    def _end(self, divergence: str | None) -> None:
        """End the comparison. After a divergence, unmatched events are discarded."""
        if self._matching:
            self._matching = False
            self._ending = asyncio.create_task(self._conclude(divergence))
            self._ending.add_done_callback(self._ended)

    def _ended(self, ending: asyncio.Task[None]) -> None:
        self._settle(asyncio.CancelledError() if ending.cancelled() else ending.exception())

    def _settle(self, error: BaseException | None) -> None:
        if self._over.done():
            return
        if error is None:
            self._log.on_caught_up()
            self._over.set_result(None)
        else:
            self._over.set_exception(error)
            self._over.exception()  # mark as retrieved: there may be no waiting call

    async def _conclude(self, divergence: str | None) -> None:
        async with self._journal.recording, self._lock:
            await self._conclusion.conclude(divergence)
