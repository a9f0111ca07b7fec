"""Match the events of a repeated agent run with the retained events of earlier attempts, so that none is appended
twice.

Each event of the agent is compared with the next retained one of the same sub-agent. Texts are compared instead of
deltas, which may be split differently. A recorded step covers all events emitted in it. After the last retained event
was matched, events go to the writer; until then new events wait. Where the agent diverges, another start of the attempt
discards all retained events that were not matched.
"""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import suppress
from contextvars import Context
from hashlib import sha256
from typing import Any, Protocol

import orjson
import structlog
from holdfast.shared.entries import Entry
from holdfast.shared.errors import LogFull, LogGone
from holdfast.shared.events import DELTAS
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.worker.current_job import tasks_beside
from holdfast.worker.journal import Emitter, Journal, JournalLog, Mark, Step
from holdfast.worker.kept import EventsMissing, IdRange, KeptEvents
from holdfast.worker.numbers import NUMBERED

# A new event waits until all retained events are matched. Without progress for so long the comparison ends; later while
# other tasks of the agent run, such as one that waits for a model.
STALL_SECONDS = 30.0
BUSY_STALL_SECONDS = 120.0
CHECKS = 30  # checks for progress per STALL_SECONDS
PENDING_BYTES = 16 * 1024 * 1024  # of text, read ahead for sub-agents that lag behind others

log = structlog.get_logger()


class Kept:
    """A retained event. `taken`: how many characters of a delta's text are matched."""

    __slots__ = ("digest", "fields", "id", "kind", "taken", "text")

    def __init__(self, entry: Entry, fields: dict[str, Any]) -> None:
        self.id = entry.id
        self.kind = entry.kind
        self.text = _text_of(entry.kind, fields)
        self.digest = _digest(entry.kind, fields)
        self.fields = fields if entry.kind in NUMBERED else {}
        self.taken = 0

    @property
    def size(self) -> int:
        return len(self.text or "")

    def take(self, text: str) -> int:
        """Match the beginning of a text with the rest of this delta's text. Returns the matched characters; 0 where
        they differ."""
        assert self.text is not None
        size = min(len(text), len(self.text) - self.taken)
        if not self.text.startswith(text[:size], self.taken):
            return 0
        self.taken += size
        return size

    @property
    def is_spent(self) -> bool:
        return self.text is None or self.taken == len(self.text)


class Owners:
    """Maps each retained event to the recorded step in which it was emitted, the outermost of nested ones."""

    def __init__(self, marks: dict[str, Mark], kept: KeptEvents) -> None:
        outermost = {key: mark for key, mark in marks.items() if marks.keys().isdisjoint(mark.position.within)}
        found = [(ids, key) for key, mark in outermost.items() for ids in kept.split(mark.events)[0]]
        self.ranges: list[tuple[IdRange, str]] = sorted(found)
        self.keys = {key for _, key in self.ranges}

    def of(self, event_id: EventId) -> str | None:
        at = bisect_right(self.ranges, event_id, key=_first) - 1
        if at < 0:
            return None
        ids, key = self.ranges[at]
        return key if event_id <= ids.last else None


class ReplayLog(JournalLog, Protocol):
    """The log of the job's session, as a replay needs it."""

    async def rewind(self, discard_from: EventId) -> EventId:
        """Write another start of the attempt, which discards the job's events from an id on. Returns its id.

        Raises LogFull where the job is to end and a full Redis refuses the start."""

    def keep(self, kind: str, body: bytes) -> None:
        """Handle an event that counts, in the log's order and before any other is written."""

    def on_caught_up(self) -> None:
        """Let events go directly to the writer."""


class Replay:
    """Replaces the writer until all retained events are matched. `log_keys` are those of the log lines."""

    def __init__(
        self,
        writer: Emitter,
        kept: KeptEvents,
        journal: Journal,
        log: ReplayLog,
        *,
        log_keys: dict[str, Any],
    ) -> None:
        self._writer = writer
        self._kept = kept
        self._journal = journal
        self._log = log
        self._log_keys = log_keys
        self._reader = kept.reader()
        self._owners = Owners(journal.marks, kept)
        self._reached: dict[str, Step] = {}
        self._pending: defaultdict[str | None, deque[Kept]] = defaultdict(deque)
        self._pending_bytes = 0
        self._taken_upto: dict[str | None, EventId] = {}
        self._inside: dict[EventId, Step] = {}
        self._missing = False  # the oldest retained events
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

        Returns whether it is recorded and its events are among the retained ones."""
        async with self._lock:
            if not self._matching:
                return False
            if expected is not None and expected != step.key and not self._others_run():
                self._end(f"step {step.key} instead of {expected}")
                return False
            if not step.done:
                return False
            self._reached[step.key] = step
            if step.parent is not None:
                step.parent.repeated(step.kept)
            self._progressed()
            return True

    async def caught_up(self) -> None:
        """Wait until all retained events are matched or discarded. Raises Fenced, LogGone."""
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
        """End the comparison since the job ends. All retained events are kept; waiting calls of `put` raise the
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
        """Compare an event with the retained ones. Returns the part of it to write, if any."""
        event = orjson.loads(body)
        agent, text, digest = event.get("agent"), _text_of(kind, event), _digest(kind, event)
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
            self._took(agent, head, step)
            if not text:
                return None
        return body if text is None else orjson.dumps(event | {DELTAS[kind][0]: text})

    def _took(self, agent: str | None, head: Kept, step: Step | None) -> None:
        if step is not None and head.id not in self._inside:
            self._inside[head.id] = step
            step.repeated([IdRange(head.id, head.id)])
        if head.is_spent:
            self._pending[agent].popleft()
            self._pending_bytes -= head.size
            self._taken_upto[agent] = head.id
        self._progressed()

    def _progressed(self) -> None:
        self._progress += 1
        if self._reader.over and not any(self._pending.values()) and self._owners.keys <= self._reached.keys():
            self._end(None)

    async def _head(self, agent: str | None) -> Kept | None:
        """Return the next retained event of an agent."""
        pending = self._pending[agent]
        while self._matching and not pending and not self._reader.over:
            await self._read()
            self._progressed()
        return pending[0] if self._matching and pending else None

    async def _read(self) -> None:
        """Read a page of retained events, without those of recorded steps."""
        try:
            entries = await self._reader.read()
        except EventsMissing:
            if self._reader.begun:
                raise LogGone("events that the job emitted before are missing") from None
            self._missing = True
            self._end("the log no longer holds the job's first events")
            return
        for entry in entries:
            if self._owners.of(entry.id) is None:
                fields = orjson.loads(entry.body)
                kept = Kept(entry, fields)
                self._pending[fields.get("agent")].append(kept)
                self._pending_bytes += kept.size
        if self._pending_bytes > PENDING_BYTES:
            self._end("an agent is too far behind the others")

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
        except LogFull:  # the job ends without waiting for memory: all retained events count
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
        while not (self._missing or self._reader.over or any(self._pending.values())):
            await self._read()
        if self._missing:
            return self._kept.first
        heads = [pending[0].id for pending in self._pending.values() if pending]
        steps = [ids.first for ids, key in self._owners.ranges if key not in self._reached]
        return await self._kept.run_start(min([*heads, *steps])) if heads or steps else self._kept.until

    async def _write_again(self, boundary: EventId) -> None:
        """Append matched events again that follow an unmatched one, since the order of sub-agents may differ."""
        found = (*self._reached.values(), *self._inside.values())
        known = dict.fromkeys(step for inner in found for step in inner.enclosing())
        completed = [step for step in known if step.value is not None]  # in this attempt or an earlier one
        moved = [step for step in completed if any(ids.last >= boundary for ids in step.kept)]
        for step in known:
            step.discard(boundary)
        async for entry in self._behind(boundary):
            owner = self._owners.of(entry.id)
            emitter = self._inside.get(entry.id) if owner is None else self._reached.get(owner)
            body = self._emitted_again(entry) if owner is None else entry.body
            if body is not None and (owner is None or emitter is not None):
                self._log.note(entry.kind, body)
                await self._writer.put(entry.kind, body, emitter)
        if moved:
            await self._journal.write(moved)

    async def _behind(self, boundary: EventId) -> AsyncIterator[Entry]:
        """Iterate over retained events from an id on; where the oldest are missing, over those of the steps called so
        far."""
        reached = [ids for ids, key in self._owners.ranges if key in self._reached]
        kept = self._kept
        try:
            async for entry in kept.between(reached) if self._missing else kept.walk(boundary, kept.until):
                yield entry
        except EventsMissing:
            if not self._missing:
                raise LogGone("events that the job emitted before are missing") from None
            self._log.truncate()

    def _emitted_again(self, entry: Entry) -> bytes | None:
        """Return the event, or the matched part of its text; None if unmatched."""
        event = orjson.loads(entry.body)
        agent = event.get("agent")
        if entry.id <= self._taken_upto.get(agent, ORIGIN):
            return entry.body
        head = self._pending[agent][0] if self._pending[agent] else None
        if head is None or head.id != entry.id or not head.taken:
            return None
        field = DELTAS[entry.kind][0]
        return orjson.dumps(event | {field: event[field][: head.taken]})


def _first(found: tuple[IdRange, str]) -> EventId:
    return found[0].first


def _text_of(kind: str, fields: dict[str, Any]) -> str | None:
    """Return the text of a delta; None for other events."""
    if kind not in DELTAS:
        return None
    text = fields.get(DELTAS[kind][0])
    return text if isinstance(text, str) else None


def _digest(kind: str, fields: dict[str, Any]) -> bytes:
    """Return a digest of an event's content, without its time and without the text of a delta."""
    aside = (DELTAS[kind][0], "checkpoint") if kind in DELTAS else ("at",)
    rest = {name: value for name, value in fields.items() if name not in aside}
    return sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).digest()
