"""What writers published and what viewers were told, and what in it breaks a promise.

Every append is recorded with its outcome (ok, fail, or unknown where no reply came), every delivery with its client.
The checks are set algebra against the final log: they know nothing of how the product works.

- P1: what a client accepts rises, follows without a hole, and equals the log; what is missing is declared by a gap.
- P2: one id has the same bytes for everybody.
- P3: what was acknowledged is in the log or declared lost; what was refused is not; the unknown is there once at most.
- P4: each job has exactly one terminal event, its last.
- P6: nothing of one session is told in another.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from typing import Literal, NamedTuple

import orjson
from holdfast.shared.ids import ORIGIN, EventId, follows, parse_cursor, parse_id
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.events import DELETED, TERMINAL

from tests.support.sse import Frame

Outcome = Literal["ok", "fail", "unknown"]


class Told(NamedTuple):
    """An event as somebody saw it. `first` is where a merged one begins."""

    id: EventId
    digest: str
    kind: str
    job_id: str
    prev: EventId | None
    first: EventId | None = None


class Gap(NamedTuple):
    reason: str
    position: EventId


class Append(NamedTuple):
    session_id: str
    id: EventId
    digest: str
    outcome: Outcome


Logs = Mapping[str, Sequence[Told]]


@dataclass
class Chain:
    """What may be left out of a compact replay of one session: only events that a later attempt discarded.

    `prevs`: for each entry with seq 1 the id that it names as its predecessor. `discarded`: ranges of ids, each from
    the first event that was discarded to the start that discarded it, exclusive."""

    prevs: dict[EventId, EventId] = field(default_factory=dict)
    discarded: list[tuple[EventId, EventId]] = field(default_factory=list)

    def connects(self, position: EventId, first: EventId) -> bool:
        """Whether every event between the two was discarded."""
        before = self._before(first)
        while before is not None and before != position:
            if not any(begin <= before < end for begin, end in self.discarded):
                return False
            before = self._before(before)
        return before is not None

    def _before(self, event_id: EventId) -> EventId | None:
        return EventId(event_id.epoch, event_id.seq - 1) if event_id.seq > 1 else self.prevs.get(event_id)


def told(event_id: EventId, body: bytes) -> Told:
    event = orjson.loads(body)
    prev, first = (event.get(name) for name in ("prev", "from"))
    return Told(
        event_id,
        sha256(body).hexdigest(),
        event["type"],
        event.get("job_id", ""),
        parse_id(prev) if prev else None,
        parse_id(first) if first else None,
    )


async def final_log(log: EventLog, session_id: str) -> list[Told]:
    """The log as it stands, holes and all."""
    return [told(entry.id, entry.body) for entry in (await log.backwards(session_id, ORIGIN, None, 1_000_000))[0]]


@dataclass
class Transcript:
    """All that one client accepted, over all its connections. `raw`: it asked for no merging, every event is due.
    `start`: the cursor with which it first came."""

    session_id: str
    client: str
    raw: bool = True
    start: EventId = ORIGIN
    steps: list[Told | Gap] = field(default_factory=list)
    connections: int = 0

    @property
    def cursor(self) -> EventId:
        """What the client sends as Last-Event-ID."""
        position = self.start
        for step in reversed(self.steps):
            if isinstance(step, Told):
                return step.id
            if step.reason != "trimmed":
                return step.position
        return position

    def accept(self, frame: Frame) -> None:
        """Take a frame from the wire. What has no place in the log (a job that waits) is passed over."""
        kind = frame.json["type"]
        if kind == "gap":
            self.steps.append(Gap(frame.json["reason"], parse_cursor(frame.json["position"])))
        elif kind != "job.queued":
            self.steps.append(told(parse_cursor(frame.id), frame.data.encode()))

    def events(self) -> list[Told]:
        """What counts in the end: without what a `lost` or `expired` gap took back."""
        kept: list[Told] = []
        for step in self.steps:
            if isinstance(step, Told):
                kept.append(step)
            elif step.reason == "lost":
                kept = [event for event in kept if event.id <= step.position]
        return kept

    def gaps(self) -> list[Gap]:
        return [step for step in self.steps if isinstance(step, Gap)]


@dataclass
class History:
    """Everything that happened. `accepted` holds (session, job) of each job that was answered with 202. `chains`
    has the sessions whose compact transcripts are checked for holes too."""

    appends: list[Append] = field(default_factory=list)
    transcripts: list[Transcript] = field(default_factory=list)
    chains: dict[str, Chain] = field(default_factory=dict)
    accepted: set[tuple[str, str]] = field(default_factory=set)

    def appended(self, session_id: str, event_id: EventId, body: bytes, outcome: Outcome) -> None:
        self.appends.append(Append(session_id, event_id, sha256(body).hexdigest(), outcome))

    def client(self, session_id: str, name: str, *, raw: bool = True, start: EventId = ORIGIN) -> Transcript:
        self.transcripts.append(Transcript(session_id, name, raw, start))
        return self.transcripts[-1]

    def violations(self, logs: Logs) -> list[str]:
        """What in this history breaks a promise, given the final logs; empty when nothing does."""
        return [
            *(found for one in self.transcripts for found in _order(one, self.chains.get(one.session_id))),
            *(found for session_id, log in logs.items() for found in _chain(session_id, log)),
            *self._agreement(logs),
            *self._durability(logs),
            *(found for session_id, log in logs.items() for found in self._ends(session_id, log)),
            *self._isolation(logs),
        ]

    def incomplete(self, logs: Logs) -> list[str]:
        """Which raw transcripts, whose clients stayed to the end, differ from the log though no gap was declared."""
        found = []
        for transcript in self.transcripts:
            if transcript.raw and not transcript.gaps():
                due = [event.id for event in logs[transcript.session_id] if event.id > transcript.start]
                seen = [event.id for event in transcript.events()]
                if seen != due:
                    missing = sorted(set(due) - set(seen))[:3]
                    found.append(f"P1 {transcript.client} has {len(seen)} of {len(due)} events; lacks {missing}")
        return found

    def _agreement(self, logs: Logs) -> Iterator[str]:
        seen: dict[tuple[str, EventId], set[str]] = defaultdict(set)
        for session_id, event in self._everything(logs):
            if event.first is None:
                seen[session_id, event.id].add(event.digest)
        for append in self.appends:
            if append.outcome == "ok":
                seen[append.session_id, append.id].add(append.digest)
        for (session_id, event_id), digests in seen.items():
            if len(digests) > 1:
                yield f"P2 {session_id} {event_id} has {len(digests)} contents"

    def _durability(self, logs: Logs) -> Iterator[str]:
        there = {session_id: {event.id for event in log} for session_id, log in logs.items()}
        times = {session_id: Counter(event.digest for event in log) for session_id, log in logs.items()}
        contents = {(session_id, event.id, event.digest) for session_id, log in logs.items() for event in log}
        for session_id, event_id, digest, outcome in self.appends:
            known = event_id in there.get(session_id, ())
            if outcome == "ok" and not known and not self._declared(session_id, event_id, logs):
                yield f"P3 {session_id} {event_id} was acknowledged and is gone without a word"
            if outcome == "fail" and (session_id, event_id, digest) in contents:
                yield f"P3 {session_id} {event_id} was refused and is in the log"
            if outcome == "unknown" and times.get(session_id, Counter())[digest] > 1:
                yield f"P3 {session_id} {event_id} was written more than once"

    def _declared(self, session_id: str, event_id: EventId, logs: Logs) -> bool:
        """Whether some client was told that this event is missing, or the log begins behind it."""
        log = logs.get(session_id, ())
        if log and event_id < log[0].id and log[0].prev != ORIGIN:
            return True
        gaps = [
            gap for transcript in self.transcripts if transcript.session_id == session_id for gap in transcript.gaps()
        ]
        return any((gap.position > event_id) == (gap.reason == "trimmed") for gap in gaps)

    def _ends(self, session_id: str, log: Sequence[Told]) -> Iterator[str]:
        ended: set[str] = set()
        for event in log:
            if event.job_id in ended:
                what = "a second end" if event.kind in TERMINAL else f"{event.kind} after its end"
                yield f"P4 {session_id} {event.id}: job {event.job_id} has {what}"
            if event.kind in TERMINAL:
                ended.add(event.job_id)
        for job_id in {job for session, job in self.accepted if session == session_id} - ended:
            yield f"P4 {session_id}: job {job_id} has no end"

    def _isolation(self, logs: Logs) -> Iterator[str]:
        own = {(session_id, event.digest) for session_id, log in logs.items() for event in log}
        own |= {(append.session_id, append.digest) for append in self.appends}
        elsewhere: dict[str, str] = {digest: session_id for session_id, digest in own}
        for transcript in self.transcripts:
            for event in transcript.events():
                home = elsewhere.get(event.digest)
                if home is not None and (transcript.session_id, event.digest) not in own:
                    yield f"P6 {transcript.client} of {transcript.session_id} was told {event.id} of {home}"

    def _everything(self, logs: Logs) -> Iterator[tuple[str, Told]]:
        for session_id, log in logs.items():
            yield from ((session_id, event) for event in log)
        for transcript in self.transcripts:
            steps: Iterable[Told | Gap] = transcript.steps
            yield from ((transcript.session_id, step) for step in steps if isinstance(step, Told))


def _chain(session_id: str, log: Sequence[Told]) -> Iterator[str]:
    """A log has no hole, wherever it begins."""
    for before, event in pairwise(log):
        if not follows(before.id, event.id, event.prev):
            yield f"P1 {session_id}: {event.id} follows {before.id} in the log"


def _order(transcript: Transcript, chain: Chain | None) -> Iterator[str]:
    """What one client was told, in its order: rising, and without a hole that nobody declared."""
    position, checked = transcript.start, transcript.raw or chain is not None
    anchored = checked
    for step in transcript.steps:
        if isinstance(step, Gap):
            anchored = False
            if step.reason != "trimmed":
                anchored = checked and step.position != ORIGIN
                position = step.position
            continue
        first = step.first or step.id
        if step.id <= position:
            yield f"P1 {transcript.client}: {step.id} came again, or late, after {position}"
        elif first <= position:
            yield f"P1 {transcript.client}: {step.id} begins at {first}, which it had"
        elif step.kind == DELETED:  # from the 202 of the deletion on, nothing else is served
            pass
        elif anchored and not _connects(transcript, chain, position, first, step.prev):
            yield f"P1 {transcript.client}: {step.id} after {position} with no word of what is between"
        position, anchored = step.id, checked


def _connects(
    transcript: Transcript, chain: Chain | None, position: EventId, first: EventId, prev: EventId | None
) -> bool:
    if transcript.raw or chain is None:
        return follows(position, first, prev)
    return chain.connects(position, first)
