"""Conclude a replay, also where the agent diverges from what earlier attempts emitted."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Protocol

import structlog
from holdfast.shared.errors import LogFull, LogGone
from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry
from holdfast.worker.attempt.journal import Emitter, Journal, JournalLog
from holdfast.worker.attempt.kept import EventsMissing, KeptEvents
from holdfast.worker.attempt.kept_queues import KeptQueues, Owners

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
        writer: Emitter,
        kept: KeptEvents,
        journal: Journal,
        log: ReplayLog,
        owners: Owners,
        queues: KeptQueues,
        log_keys: dict[str, Any],
    ) -> None:
        self._writer = writer
        self._kept = kept
        self._journal = journal
        self._log = log
        self._owners = owners
        self._queues = queues
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
        while not (self._queues.missing or self._queues.is_read or self._queues.heads()):
            await self._queues.read()
        if self._queues.missing:
            return self._kept.first
        heads = [head.id for head in self._queues.heads()]
        steps = [ids.first for ids, key in self._owners.ranges if key not in self._owners.reached]
        return await self._kept.run_start(min([*heads, *steps])) if heads or steps else self._kept.until

    async def _write_again(self, boundary: EventId) -> None:
        """Append matched events again that follow an unmatched one, since the order of sub-agents may differ."""
        found = (*self._owners.reached.values(), *self._queues.inside.values())
        known = dict.fromkeys(step for inner in found for step in inner.enclosing())
        completed = [step for step in known if step.value is not None]  # in this attempt or an earlier one
        moved = [step for step in completed if any(ids.last >= boundary for ids in step.kept)]
        for step in known:
            step.discard(boundary)
        async for entry in self._behind(boundary):
            owner = self._owners.of(entry.id)
            emitter = self._queues.inside.get(entry.id) if owner is None else self._owners.reached.get(owner)
            body = self._queues.emitted_again(entry) if owner is None else entry.body
            if body is not None and (owner is None or emitter is not None):
                self._log.note(entry.kind, body)
                await self._writer.put(entry.kind, body, emitter)
        if moved:
            await self._journal.write(moved)

    async def _behind(self, boundary: EventId) -> AsyncIterator[Entry]:
        """Iterate over kept events from an id on; where the oldest are missing, over those of the steps called so
        far."""
        reached = [ids for ids, key in self._owners.ranges if key in self._owners.reached]
        kept = self._kept
        try:
            async for entry in kept.between(reached) if self._queues.missing else kept.walk(boundary, kept.until):
                yield entry
        except EventsMissing:
            if not self._queues.missing:
                raise LogGone("events that the job emitted before are missing") from None
            self._log.truncate()
