"""The journal of a job, written under its fence. With it a later attempt runs no recorded step again, repeats no
answered question, and emits no event of a recorded step again."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from hashlib import sha256
from typing import Any, NamedTuple, Protocol

import orjson
from holdfast.shared.failpoints import failpoint
from holdfast.shared.ids import EventId, parse_id
from holdfast.shared.log.events import encode
from holdfast.shared.log.log_replies import Outcome, Recorded
from holdfast.worker.attempt.kept import EventsMissing, IdRange, KeptEvents

MARK_VERSION = 1


Scope = tuple[str | None, tuple[str, ...]]


class Position(NamedTuple):
    """The position of a step: its number among the steps of its agent within the enclosing steps, outermost key
    first."""

    agent: str | None
    within: tuple[str, ...]
    number: int


class Mark(NamedTuple):
    """The place of a recorded step in the log: the last event before it was recorded, and the events emitted in it."""

    at: EventId
    position: Position
    events: list[IdRange]

    def encoded(self) -> bytes:
        events = [f"{first} {last}" for first, last in self.events]
        return encode({"v": MARK_VERSION, "at": str(self.at), **self.position._asdict(), "events": events})


def mark_of(encoded: bytes) -> Mark:
    """Parse the mark of a recorded step."""
    fields = orjson.loads(encoded)
    position = Position(fields["agent"], tuple(fields["within"]), fields["number"])
    pairs = (ids.split(" ") for ids in fields["events"])
    return Mark(parse_id(fields["at"]), position, [IdRange(parse_id(first), parse_id(last)) for first, last in pairs])


class Emitter(Protocol):
    """The methods of worker.attempt.writer.Writer that are used here."""

    def checkpoint(self) -> int: ...
    def id_of(self, number: int) -> EventId: ...
    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None: ...
    async def flush(self) -> None: ...


class Follower(Protocol):
    """Compares the steps that the agent calls with the recorded ones, see worker.attempt.replay."""

    async def reach(self, step: Step, expected: str | None) -> bool: ...
    async def number(self, agent: str | None, kind: str, name: str) -> Any: ...
    async def caught_up(self) -> None: ...


class JournalLog(Protocol):
    """The log of the job's session, as the attempt writes to it."""

    async def record(self, resume: EventId, outcomes: Sequence[Outcome]) -> None:
        """Record results of steps. A takeover keeps the job's events below `resume`."""

    async def ask(self, question_id: str, event: dict[str, Any], known: bytes | None) -> Any:
        """Ask a person, unless the answer is known. Returns the answer."""

    async def confirm(self) -> None:
        """Raise Fenced where another attempt has claimed the session."""

    def note(self, kind: str, body: bytes) -> None:
        """Account for an event of an earlier attempt that is written again."""

    def truncate(self) -> None:
        """Mark the conversation as incomplete: kept events of earlier attempts are missing."""


class Step:
    """A step, tool call or section of one attempt.

    `idempotency_key` is the same in every attempt, for external systems. `done`: an earlier attempt has recorded the
    step. `kept`: its events of earlier attempts that still count. `lost`: those that were discarded since."""

    def __init__(
        self, key: str, idempotency_key: str, position: Position, parent: Step | None, value: bytes | None
    ) -> None:
        self.key = key
        self.idempotency_key = idempotency_key
        self.position = position
        self.parent = parent
        self.value = value
        self.done = value is not None
        self.kept: list[IdRange] = []
        self.lost: list[IdRange] = []
        self.numbers: list[tuple[int, int]] = []  # ranges of the writer's event numbers, first and last
        self.left = False

    @property
    def is_repeated(self) -> bool:
        """Whether an earlier attempt has recorded this step or an enclosing one, so that the log has all its events."""
        return any(step.done for step in self.enclosing())

    @property
    def result(self) -> Any:
        return None if self.value is None else orjson.loads(self.value)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Attribute the events emitted and the steps called in the block to this step."""
        self.enter()
        try:
            yield
        finally:
            self.leave()

    def enter(self) -> None:
        _current.set(self)

    def leave(self) -> None:
        """Undo `enter`, from any task. A token of the context variable would work in one context only."""
        self.left = True
        _current.set(self.parent)

    def emitted(self, number: int) -> None:
        """Record the writer's number of an event of this step."""
        for step in self.enclosing():
            numbers = step.numbers
            if numbers and numbers[-1][1] == number - 1:
                numbers[-1] = (numbers[-1][0], number)
            else:
                numbers.append((number, number))

    def repeated(self, events: Sequence[IdRange]) -> None:
        """Record events of earlier attempts that the agent emitted again in this step."""
        for step in self.enclosing():
            for ids in events:
                if step.kept and step.kept[-1].last.next() == ids.first:
                    step.kept[-1] = IdRange(step.kept[-1].first, ids.last)
                else:
                    step.kept.append(ids)

    def discard(self, first: EventId) -> None:
        """Forget the events of earlier attempts from an id on."""
        end = EventId(first.epoch, first.seq - 1)
        self.kept = [IdRange(ids.first, min(ids.last, end)) for ids in self.kept if ids.first < first]

    def events(self, id_of: Callable[[int], EventId]) -> list[IdRange]:
        """Return all events of the step that count."""
        return [*self.kept, *(IdRange(id_of(first), id_of(last)) for first, last in self.numbers)]

    def enclosing(self) -> Iterator[Step]:
        """Iterate over the step and the enclosing ones, innermost first."""
        step: Step | None = self
        while step is not None:
            yield step
            step = step.parent


_current: ContextVar[Step | None] = ContextVar("step", default=None)


def current_step() -> Step | None:
    """Return the step in which the caller runs. A task may outlive the step in which it was started."""
    step = _current.get()
    while step is not None and step.left:
        step = step.parent
    return step


class Journal:
    """One attempt's view of the journal.

    `recorded`: what earlier attempts recorded. `kept`: their events.

    A step is identified by its name, arguments, agent, enclosing steps, and its ordinal among equal ones; a question by
    its prompt, schema and ordinal. The lock `recording` is held while events and their record are written."""

    def __init__(
        self,
        job_id: str,
        emitter: Emitter,
        log: JournalLog,
        *,
        recorded: Recorded,
        kept: KeptEvents | None,
    ) -> None:
        self._job_id = job_id
        self._emitter = emitter
        self._log = log
        self._recorded = recorded
        self._kept = kept
        self.marks = {key: mark_of(mark) for key, mark in recorded.marks.items()}
        self.follower: Follower | None = None
        self._expected = self._positions()
        self._seen: Counter[str] = Counter()
        self._seen_by_schema_0: Counter[str] = Counter()
        self._called: Counter[Scope] = Counter()
        self._asking = asyncio.Lock()
        self.recording = asyncio.Lock()

    async def step(self, name: str, arguments: Any, agent: str | None = None) -> Step:
        """Open the next step of this name with these arguments. The events of a step that is done are in the log.

        Raises EventInvalid when the arguments are not JSON, Fenced when another attempt has claimed the session."""
        step = self._next(name, arguments, agent, current_step())
        if step.parent is None or not step.parent.is_repeated:  # else its events are among those of the enclosing step
            await self._find(step)
        if not step.done:
            await self._log.confirm()  # a worker that was frozen must not repeat what its successor has done
        return step

    async def record(self, step: Step, result: Any) -> Any:
        """Record the result of a step, once its events are in the log. Returns the result as a later attempt gets it.

        Raises EventInvalid when it is not JSON."""
        step.value = encode(result)
        async with self.recording:
            await self.write([step])
        return step.result

    async def write(self, steps: Sequence[Step]) -> None:
        """Record steps together, once all events so far are in the log. The caller holds `recording`."""
        count = self._emitter.checkpoint()
        await self._emitter.flush()
        at = self._emitter.id_of(count)
        failpoint("before_step_record")
        await self._log.record(at.next(), [self._outcome(step, at) for step in steps])
        failpoint("after_step_record")

    def _outcome(self, step: Step, at: EventId) -> Outcome:
        mark = Mark(at, step.position, step.events(self._emitter.id_of))
        return Outcome(step.key, step.value or b"null", mark.encoded())

    async def ask(self, event: dict[str, Any]) -> tuple[str, Any]:
        """Ask a person, one question at a time. Returns its id and the answer."""
        question_id = self._key(self._seen, "q", [event["prompt"], event["schema"]])
        async with self._asking:
            asked = {**event, "question_id": question_id}
            return question_id, await self._log.ask(question_id, asked, self._recorded.answers.get(question_id))

    async def kept_number(self, agent: str | None, kind: str, name: str) -> Any:
        """Return the number of the section or tool call that the agent starts, if an earlier attempt has started it."""
        return None if self.follower is None else await self.follower.number(agent, kind, name)

    async def _find(self, step: Step) -> None:
        """Ensure that the events of a step that is done are in the log."""
        self._locate(step)
        # Concurrent parts of an agent may call their steps in another order: a marked step is identified by its key.
        expected = None if step.done and self._is_marked(step.key) else self._expected.get(step.position)
        reached = self.follower is not None and await self.follower.reach(step, expected)
        if step.done:
            await self._restore(step, reached=reached)

    async def _restore(self, step: Step, *, reached: bool) -> None:
        """Write discarded events of a recorded step again, and update its mark."""
        if self.follower is not None and not reached:
            await self.follower.caught_up()
            self._locate(step)
        if self._is_marked(step.key) and not step.lost:
            return
        if self.follower is not None and step.lost:
            await self.follower.caught_up()
        async with self.recording:
            if self._kept is not None:
                await self._write_again(step, self._kept)
            await self.write([step])

    async def _write_again(self, step: Step, kept: KeptEvents) -> None:
        try:
            async for entry in kept.between(step.lost):
                self._log.note(entry.kind, entry.body)
                await self._emitter.put(entry.kind, entry.body, step)
        except EventsMissing:
            self._log.truncate()

    def _next(self, name: str, arguments: Any, agent: str | None, parent: Step | None) -> Step:
        scope: Scope = (agent, () if parent is None else (*parent.position.within, parent.key))
        position = Position(*scope, self._called[scope])
        self._called[scope] += 1
        key = self._step_key(name, arguments, scope)
        return Step(key, f"{self._job_id}:{key}", position, parent, self._recorded.steps.get(key))

    def _locate(self, step: Step) -> None:
        """Look up the events that the step emitted in an earlier attempt."""
        mark = self.marks.get(step.key)
        if step.done and mark is not None and self._kept is not None:
            step.kept, step.lost = self._kept.split(mark.events)

    def _step_key(self, name: str, arguments: Any, scope: Scope) -> str:
        agent, within = scope
        own = (agent, within) if agent is not None or within else ()
        key = self._key(self._seen, name, arguments, *own)
        # Keys of schema 0 include neither agent nor enclosing steps, and have no marks.
        old = self._key(self._seen_by_schema_0, name, arguments)
        return old if old in self._recorded.steps and old not in self.marks else key

    def _key(self, seen: Counter[str], name: str, *rest: Any) -> str:
        digest = sha256(encode([name, *rest])).hexdigest()[:16]
        ordinal = seen[digest]
        seen[digest] += 1
        return f"{name}:{ordinal}:{digest}"

    def _positions(self) -> dict[Position, str]:
        """Return the key of the step recorded at each position, the latest where there were several."""
        latest = sorted((mark.at, key) for key, mark in self.marks.items() if self._is_marked(key))
        return {self.marks[key].position: key for _, key in latest}

    def _is_marked(self, key: str) -> bool:
        """Return whether the place of the step's record still counts in the log."""
        mark = self.marks.get(key)
        return mark is not None and self._kept is not None and self._kept.counts(mark.at)
