"""Queue the kept events for each sub-agent, until the agent emits them again. kept.py reads them from the log."""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict, deque
from hashlib import sha256
from typing import Any

import orjson
from holdfast.shared.errors import LogGone
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.events import DELTAS
from holdfast.worker.attempt.journal import Mark, Step
from holdfast.worker.attempt.kept import EventsMissing, IdRange, KeptEvents, KeptReader
from holdfast.worker.sdk.spans import NUMBERED

PENDING_BYTES = 16 * 1024 * 1024  # of text, read ahead for sub-agents that lag behind others


class Kept:
    """A kept event. `taken`: how many characters of a delta's text are matched."""

    __slots__ = ("digest", "fields", "id", "kind", "taken", "text")

    def __init__(self, entry: Entry, fields: dict[str, Any]) -> None:
        self.id = entry.id
        self.kind = entry.kind
        self.text = text_of(entry.kind, fields)
        self.digest = digest_of(entry.kind, fields)
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
    """Maps each kept event to the recorded step in which it was emitted, the outermost of nested ones.

    `reached`: the recorded steps that the agent has called again."""

    def __init__(self, marks: dict[str, Mark], kept: KeptEvents) -> None:
        outermost = {key: mark for key, mark in marks.items() if marks.keys().isdisjoint(mark.position.within)}
        found = [(ids, key) for key, mark in outermost.items() for ids in kept.split(mark.events)[0]]
        self.ranges: list[tuple[IdRange, str]] = sorted(found)
        self.reached: dict[str, Step] = {}
        self._keys = {key for _, key in self.ranges}

    @property
    def are_all_reached(self) -> bool:
        return self._keys <= self.reached.keys()

    def of(self, event_id: EventId) -> str | None:
        at = bisect_right(self.ranges, event_id, key=lambda found: found[0].first) - 1
        if at < 0:
            return None
        ids, key = self.ranges[at]
        return key if event_id <= ids.last else None


class KeptQueues:
    """Reads kept events ahead, without those of recorded steps, and queues them for each sub-agent.

    `missing`: the log no longer holds the oldest ones. `inside`: the steps in which events were emitted again."""

    def __init__(self, kept: KeptEvents, owners: Owners) -> None:
        self.missing = False
        self.inside: dict[EventId, Step] = {}
        self._owners = owners
        self._reader = KeptReader(kept)
        self._pending: defaultdict[str | None, deque[Kept]] = defaultdict(deque)
        self._bytes = 0
        self._taken_upto: dict[str | None, EventId] = {}

    @property
    def is_read(self) -> bool:
        """Whether all kept events are read."""
        return self._reader.over

    def head(self, agent: str | None) -> Kept | None:
        """Return the next event of an agent, as far as they are read."""
        pending = self._pending[agent]
        return pending[0] if pending else None

    def heads(self) -> list[Kept]:
        return [pending[0] for pending in self._pending.values() if pending]

    async def read(self) -> str | None:
        """Read a page. Returns the reason why no further event can be compared, if there is one."""
        try:
            entries = await self._reader.read()
        except EventsMissing:
            if self._reader.begun:
                raise LogGone("events that the job emitted before are missing") from None
            self.missing = True
            return "the log no longer holds the job's first events"
        for entry in entries:
            if self._owners.of(entry.id) is None:
                fields = orjson.loads(entry.body)
                kept = Kept(entry, fields)
                self._pending[fields.get("agent")].append(kept)
                self._bytes += kept.size
        return "an agent is too far behind the others" if self._bytes > PENDING_BYTES else None

    def took(self, agent: str | None, head: Kept, step: Step | None) -> None:
        """Record that the agent emitted its next event again, or a part of its text."""
        if step is not None and head.id not in self.inside:
            self.inside[head.id] = step
            step.repeated([IdRange(head.id, head.id)])
        if head.is_spent:
            self._pending[agent].popleft()
            self._bytes -= head.size
            self._taken_upto[agent] = head.id

    def emitted_again(self, entry: Entry) -> bytes | None:
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


def text_of(kind: str, fields: dict[str, Any]) -> str | None:
    """Return the text of a delta; None for other events."""
    if kind not in DELTAS:
        return None
    text = fields.get(DELTAS[kind][0])
    return text if isinstance(text, str) else None


def digest_of(kind: str, fields: dict[str, Any]) -> bytes:
    """Return a digest of an event's content, without its time and without the text of a delta."""
    aside = (DELTAS[kind][0], "checkpoint") if kind in DELTAS else ("at",)
    rest = {name: value for name, value in fields.items() if name not in aside}
    return sha256(orjson.dumps(rest, option=orjson.OPT_SORT_KEYS)).digest()
