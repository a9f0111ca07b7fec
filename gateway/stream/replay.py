"""Pages of a session's log as what one viewer is sent while it catches up. Pure: pages in, bytes out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from gateway.stream.compaction import Compactor, Discards
from gateway.stream.framing import WRITE_BYTES, Format, concerns, ends, fitting, until_deleted
from shared.event_log import PAGE_EVENTS, Entry, Page
from shared.ids import EventId
from shared.sessions import JobState

FIRST_PAGE_EVENTS = 64


class Taken(NamedTuple):
    """What a page came to. `over`: the stream ends with it. `at_end`: there is no more to read for now."""

    data: bytes
    cursor: EventId
    events: int
    over: bool
    at_end: bool


class Replay:
    """What a viewer that catches up keeps from one page to the next."""

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
        "stale",
    )

    def __init__(self, form: Format, job_id: str | None, *, raw: bool) -> None:
        self._form = form
        self._job_id = job_id
        self._compactor = None if raw else Compactor()
        self._discards = Discards()
        self._ready: list[bytes] = []
        self._held: list[bytes] = []
        self._told = False
        self.count = FIRST_PAGE_EVENTS
        self.informed = raw
        self.stale = False

    def say(self, frame: bytes) -> None:
        """Put a frame in front of what comes next."""
        self._ready.append(frame)

    def inform(self, jobs: Iterable[JobState]) -> None:
        """Learn from the jobs' records which events were discarded by starts that are further ahead in the log."""
        self.informed = True
        for job in jobs:
            if job.first is not None and job.started is not None:
                self._discards.add(job.job_id, job.first, job.started)

    def take(self, cursor: EventId, page: Page) -> Taken:
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
            cursor = page.gap.position
        return Taken(self._frames(events), cursor, len(events), over, at_end)

    def conclude(self, end: Entry) -> bytes:
        """The last bytes of a job's stream whose end comes from the job's record."""
        events = [] if self._compactor is None else self._compactor.flush()
        return self._frames([*events, end])

    def rest(self) -> bytes:
        """What is left to say when the viewer goes live."""
        frames, self._ready, self._held = [*self._ready, *self._held], [], []
        return b"".join(frames)

    def _gap(self, page: Page) -> bool:
        """Announce the page's gap. True when that was done before, and the log is missing still."""
        gap = page.gap
        if gap is None:
            return False
        again = self._told and gap.reason == "expired"
        self.stale = True
        if again:
            return True
        self._told = gap.reason == "expired"
        if self._compactor is not None:
            self._ready += [self._form.event(entry) for entry in self._compactor.flush()]
        if gap.reason == "trimmed":
            self._held.append(self._form.gap(gap))
        else:
            self._ready.append(self._form.gap(gap))
        return False

    def _events(self, entries: Sequence[Entry]) -> list[Entry]:
        job_id = self._job_id
        mine = list(entries) if job_id is None else [entry for entry in entries if concerns(entry, job_id)]
        if self._compactor is None:
            return mine
        self._discards.learn(mine)
        return self._compactor.feed(self._discards.kept(mine))

    def _frames(self, events: Sequence[Entry]) -> bytes:
        """A trimmed gap waits for the first event that is kept, so that both are in one write."""
        frames, self._ready = self._ready, []
        if events:
            frames += self._held
            self._held = []
            frames += [self._form.event(entry) for entry in events]
        return b"".join(frames)

    def _resize(self, entries: Sequence[Entry]) -> None:
        """Ask for as many events as go out in one write."""
        if entries:
            size = sum(len(entry.body) for entry in entries)
            self.count = max(1, min(PAGE_EVENTS, WRITE_BYTES * len(entries) // (size + 1)))


def _fitting(page: Page) -> Page:
    """As much of the page as goes out in one write; the rest is read again when the client has taken that."""
    count = fitting(page.entries)
    return page if count == len(page.entries) else Page(page.entries[:count], page.gap, more=True)
