"""Renders pages of a session's log for one viewer that catches up. Pure: pages in, bytes out."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from holdfast.gateway.dialects.dialect import CUT, END, Dialect, State
from holdfast.gateway.stream.batch import WRITE_BYTES, concerns, ends, fitting, size_of, until_deleted
from holdfast.gateway.stream.compaction import Compactor, Run
from holdfast.gateway.stream.page_cache import CachedPage
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.discards import Discard, Discards
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import PAGE_EVENTS, Page

FIRST_PAGE_EVENTS = 64


class Rendered(NamedTuple):
    """A rendered page. `cursor`: the id to read on from. `over`: the stream ends with this page. `at_end`: the end of
    the log is reached. `sent`: the id up to which everything is in `data`; None: unchanged. `state`: the dialect's
    state after `data`."""

    data: bytes
    cursor: EventId
    events: int
    over: bool
    at_end: bool
    sent: EventId | None
    state: State


class _CachedResult(NamedTuple):
    """A rendered page with the state after it, for all viewers in the same state."""

    rendered: Rendered
    run: Run | None
    next_count: int


class Replay:
    """The state that a viewer keeps from one page to the next while it catches up.

    `since`: pages requested earlier (monotonic seconds) are not used. `sent`: the id up to which everything was sent.
    `count`: events to read for the next page. `job_stale`: the job's record must be read again. `state`: the dialect's
    state after what was rendered."""

    __slots__ = (
        "_compactor",
        "_dialect",
        "_discards",
        "_expired_sent",
        "_held_gaps",
        "_job_id",
        "_ready",
        "count",
        "discards_known",
        "job_stale",
        "sent",
        "since",
        "state",
    )

    def __init__(
        self, dialect: Dialect, job_id: str | None, *, raw: bool, sent: EventId = ORIGIN, state: State = None
    ) -> None:
        self._dialect = dialect
        self.state = state
        self._job_id = job_id
        self._compactor = None if raw else Compactor()
        self._discards = Discards()
        self._ready: list[bytes] = []
        self._held_gaps: list[bytes] = []
        self._expired_sent = False
        self.count = FIRST_PAGE_EVENTS
        self.discards_known = raw
        self.sent = sent
        self.job_stale = False
        self.since = time.monotonic()

    def prepend(self, frame: bytes) -> None:
        """Put a frame in front of the next rendered page."""
        self._put(frame)

    def add_discards(self, discards: Iterable[Discard]) -> None:
        """Add discards from the jobs' records, of starts that are further ahead in the log."""
        self.discards_known = True
        for discard in discards:
            self._discards.add(*discard)

    def reset_since(self) -> None:
        """Use only pages that are requested from now on."""
        self.since = time.monotonic()

    def render_cached(self, cursor: EventId, shared: CachedPage) -> Rendered:
        """Render a page once for all viewers in the same state; otherwise as `render`."""
        if self._has_private_state(shared.page):
            return self.render(cursor, shared.page)
        key = self._cache_key()
        cached: _CachedResult | None = shared.derived.get(key)
        if cached is None:
            rendered = self.render(cursor, shared.page)
            if not self._discards:
                run = None if self._compactor is None else self._compactor.run
                shared.derived[key] = _CachedResult(rendered, run, self.count)
            return rendered
        self.count = cached.next_count
        self.sent = cached.rendered.sent or self.sent
        self.state = cached.rendered.state
        if self._compactor is not None:
            self._compactor.run = cached.run
        return cached.rendered

    def render(self, cursor: EventId, page: Page) -> Rendered:
        """Render the page after the cursor."""
        page = _fitting(page)
        again = self._gap(page)
        entries = until_deleted(page.entries)
        over = ends(entries, self._job_id)
        at_end = not page.more and (page.gap is None or again)
        events = self._events(entries)
        if self._compactor is not None and (over or at_end):
            events = [*events, *self._compactor.flush()]
        self._resize(page.entries)
        if page.entries:
            cursor = page.entries[-1].id
        elif page.gap is not None:
            cursor = page.gap.resume
        data = self._frames(events)
        if self.state is CUT or self.state is END:
            data += self.remaining()
        sent = self._sent_with(events, cursor)
        self.sent = sent or self.sent
        return Rendered(data, cursor, len(events), over, at_end, sent, self.state)

    def finish(self, end: Entry) -> bytes:
        """Return the last bytes of a job's stream whose terminal event comes from the job's record."""
        events = [] if self._compactor is None else self._compactor.flush()
        return self._frames([*events, end])

    def remaining(self) -> bytes:
        """Return the frames that are still held back, for a viewer that goes live."""
        self._release_gaps()
        return self._drain()

    def _has_private_state(self, page: Page) -> bool:
        """Return whether this viewer has its own frames or discards, so that its rendering cannot be shared."""
        return bool(self._ready or self._held_gaps or self._discards or page.gap is not None)

    def _cache_key(self) -> Hashable:
        """Everything besides the page that the rendering depends on, for a viewer without private state."""
        return (self._dialect, self.state, self._job_id, self._compactor is None or self._compactor.run)

    def _gap(self, page: Page) -> bool:
        """Announce the page's gap. Returns True if it is an `expired` gap that was announced before."""
        gap = page.gap
        if gap is None:
            return False
        again = self._expired_sent and gap.reason == "expired"
        self.job_stale = True
        self.reset_since()
        if again:
            return True
        self._expired_sent = gap.reason == "expired"
        if self._compactor is not None:
            self._put_events(self._compactor.flush())
        frame, self.state = self._dialect.gap(self.state, gap)
        if gap.reason == "trimmed":
            self._held_gaps.append(frame)
        else:
            self._put(frame)
        return False

    def _events(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        job_id = self._job_id
        mine = entries if job_id is None else [entry for entry in entries if concerns(entry, job_id)]
        if self._compactor is None:
            return mine
        self._discards.learn(mine)
        return self._compactor.feed(self._discards.kept(mine))

    def _sent_with(self, events: Sequence[Entry], cursor: EventId) -> EventId | None:
        """Return the id up to which everything is sent: the page's end, or its last event while a run or gap waits."""
        if not self._held_gaps and (self._compactor is None or self._compactor.run is None):
            return cursor
        return events[-1].id if events else None

    def _frames(self, events: Sequence[Entry]) -> bytes:
        self._put_events(events)
        return self._drain()

    def _put_events(self, events: Sequence[Entry]) -> None:
        if events:
            frames, self.state = self._dialect.frames(self.state, events)
            self._put(frames)

    def _put(self, frame: bytes) -> None:
        """Append a frame that may move the client's cursor, with the held gaps in front of it.

        A trimmed gap has no id: a client that got the next id without the gap would never learn of the hole."""
        self._release_gaps()
        self._ready.append(frame)

    def _release_gaps(self) -> None:
        self._ready += self._held_gaps
        self._held_gaps = []

    def _drain(self) -> bytes:
        frames, self._ready = self._ready, []
        return b"".join(frames)

    def _resize(self, entries: Sequence[Entry]) -> None:
        """Set the size of the next page to what fits in one write."""
        if entries:
            self.count = max(1, min(PAGE_EVENTS, WRITE_BYTES * len(entries) // (size_of(entries) + 1)))


def _fitting(page: Page) -> Page:
    """Return the part of the page that fits in one write; the rest is read again once the client has taken it."""
    count = fitting(page.entries)
    return page if count == len(page.entries) else Page(page.entries[:count], page.gap, more=True)
