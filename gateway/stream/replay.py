"""Pages of a session's log as what one viewer is sent while it catches up. Pure: pages in, bytes out."""

from __future__ import annotations

import time
from collections.abc import Hashable, Iterable, Sequence
from typing import NamedTuple

from holdfast.gateway.stream.compaction import Compactor, Run
from holdfast.gateway.stream.framing import WRITE_BYTES, Format, concerns, ends, fitting, size_of, until_deleted
from holdfast.gateway.stream.page_cache import CachedPage
from holdfast.shared.discards import Discard, Discards
from holdfast.shared.entries import Entry
from holdfast.shared.event_log import PAGE_EVENTS, Page
from holdfast.shared.ids import ORIGIN, EventId

FIRST_PAGE_EVENTS = 64


class Rendered(NamedTuple):
    """What a page came to. `over`: the stream ends with it. `at_end`: there is no more to read for now. `sent`: the id
    up to which nothing is held back, where that is known from the page."""

    data: bytes
    cursor: EventId
    events: int
    over: bool
    at_end: bool
    sent: EventId | None


class _CachedResult(NamedTuple):
    """What a page comes to for everybody who stands where one has stood, and how it goes on from there."""

    rendered: Rendered
    run: Run | None
    next_count: int


class Replay:
    """What a viewer that catches up keeps from one page to the next.

    `since`: what was read earlier does not count for this viewer. `sent`: the id up to which everything was sent."""

    __slots__ = (
        "_compactor",
        "_discards",
        "_form",
        "_held",
        "_job_id",
        "_ready",
        "_told",
        "count",
        "informed",
        "sent",
        "since",
        "stale",
    )

    def __init__(self, form: Format, job_id: str | None, *, raw: bool, sent: EventId = ORIGIN) -> None:
        self._form = form
        self._job_id = job_id
        self._compactor = None if raw else Compactor()
        self._discards = Discards()
        self._ready: list[bytes] = []
        self._held: list[bytes] = []
        self._told = False
        self.count = FIRST_PAGE_EVENTS
        self.informed = raw
        self.sent = sent
        self.stale = False
        self.since = time.monotonic()

    def say(self, frame: bytes) -> None:
        """Put a frame in front of what comes next."""
        self._put(frame)

    def inform(self, discards: Iterable[Discard]) -> None:
        """Learn from the jobs' records which events were discarded by starts that are further ahead in the log."""
        self.informed = True
        for discard in discards:
            self._discards.add(*discard)

    def renew(self) -> None:
        """From now on only what is read from now on counts."""
        self.since = time.monotonic()

    def render_cached(self, cursor: EventId, shared: CachedPage) -> Rendered:
        """As `render`. Those who stand at the same place get the same bytes, made once."""
        if self._is_alone(shared.page):
            return self.render(cursor, shared.page)
        place = self._place()
        derived: _CachedResult | None = shared.derived.get(place)
        if derived is None:
            rendered = self.render(cursor, shared.page)
            if not self._discards:
                run = None if self._compactor is None else self._compactor.run
                shared.derived[place] = _CachedResult(rendered, run, self.count)
            return rendered
        self.count = derived.next_count
        self.sent = derived.rendered.sent or self.sent
        if self._compactor is not None:
            self._compactor.run = derived.run
        return derived.rendered

    def render(self, cursor: EventId, page: Page) -> Rendered:
        """What the page behind the cursor comes to."""
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
        sent = self._sent_with(events, cursor)
        self.sent = sent or self.sent
        return Rendered(data, cursor, len(events), over, at_end, sent)

    def conclude(self, end: Entry) -> bytes:
        """The last bytes of a job's stream whose end comes from the job's record."""
        events = [] if self._compactor is None else self._compactor.flush()
        return self._frames([*events, end])

    def rest(self) -> bytes:
        """What is left to say when the viewer goes live."""
        self._release_gaps()
        return self._drain()

    def _is_alone(self, page: Page) -> bool:
        """Whether there is more to this viewer than its place: something to say first, or a past of its own."""
        return bool(self._ready or self._held or self._discards or page.gap is not None)

    def _place(self) -> Hashable:
        """All that decides what a page comes to, for a viewer that is not alone."""
        return (self._form, self._job_id, self._compactor is None or self._compactor.run)

    def _gap(self, page: Page) -> bool:
        """Announce the page's gap. True when that was done before, and the log is missing still."""
        gap = page.gap
        if gap is None:
            return False
        again = self._told and gap.reason == "expired"
        self.stale = True
        self.renew()
        if again:
            return True
        self._told = gap.reason == "expired"
        if self._compactor is not None:
            self._put_events(self._compactor.flush())
        if gap.reason == "trimmed":
            self._held.append(self._form.gap(gap))
        else:
            self._put(self._form.gap(gap))
        return False

    def _events(self, entries: Sequence[Entry]) -> Sequence[Entry]:
        job_id = self._job_id
        mine = entries if job_id is None else [entry for entry in entries if concerns(entry, job_id)]
        if self._compactor is None:
            return mine
        self._discards.learn(mine)
        return self._compactor.feed(self._discards.kept(mine))

    def _sent_with(self, events: Sequence[Entry], cursor: EventId) -> EventId | None:
        """Up to where everything is sent: to the page's end, or to its last event where an open run or a gap waits."""
        if not self._held and (self._compactor is None or self._compactor.run is None):
            return cursor
        return events[-1].id if events else None

    def _frames(self, events: Sequence[Entry]) -> bytes:
        self._put_events(events)
        return self._drain()

    def _put_events(self, events: Sequence[Entry]) -> None:
        if events:
            self._put(self._form.events(events))

    def _put(self, frame: bytes) -> None:
        """Append a frame that may move the client's cursor. A trimmed gap carries no id, so a client that receives the
        id behind it without the gap never hears of the hole: the gaps held so far go first, in the same write."""
        self._release_gaps()
        self._ready.append(frame)

    def _release_gaps(self) -> None:
        self._ready += self._held
        self._held = []

    def _drain(self) -> bytes:
        frames, self._ready = self._ready, []
        return b"".join(frames)

    def _resize(self, entries: Sequence[Entry]) -> None:
        """Ask for as many events as go out in one write."""
        if entries:
            self.count = max(1, min(PAGE_EVENTS, WRITE_BYTES * len(entries) // (size_of(entries) + 1)))


def _fitting(page: Page) -> Page:
    """As much of the page as goes out in one write; the rest is read again when the client has rendered that."""
    count = fitting(page.entries)
    return page if count == len(page.entries) else Page(page.entries[:count], page.gap, more=True)
