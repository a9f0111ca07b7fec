"""How steps are known again, and when they are recorded."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import orjson
import pytest
from holdfast.shared.errors import Fenced
from holdfast.shared.ids import EventId
from holdfast.shared.log.log_replies import Outcome, Recorded
from holdfast.worker.attempt.journal import Journal, Mark, Position, Step, current_step, mark_of
from holdfast.worker.attempt.kept import IdRange

EPOCH = 1763683200123


class StandInEmitter:
    """A writer whose log takes an event when it is flushed."""

    def __init__(self) -> None:
        self.put_count = 0
        self.in_log = 0

    def checkpoint(self) -> int:
        return self.put_count

    def id_of(self, number: int) -> EventId:
        assert number <= self.in_log
        return EventId(EPOCH, number + 1)

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        self.put_count += 1
        if step is not None:
            step.emitted(self.put_count)

    async def flush(self) -> None:
        self.in_log = self.put_count


class Records:
    """What was recorded, in its order."""

    def __init__(self) -> None:
        self.resumes: list[EventId] = []
        self.outcomes: list[Outcome] = []
        self.fenced = False

    async def confirm(self) -> None:
        if self.fenced:
            raise Fenced

    async def record(self, resume: EventId, outcomes: Sequence[Outcome]) -> None:
        self.resumes.append(resume)
        self.outcomes += outcomes

    async def ask(self, question_id: str, event: dict[str, Any], known: bytes | None) -> Any:
        raise AssertionError("no question is asked here")

    def note(self, kind: str, body: bytes) -> None: ...

    def truncate(self) -> None: ...


@pytest.fixture
def emitter() -> StandInEmitter:
    return StandInEmitter()


@pytest.fixture
def records() -> Records:
    return Records()


@pytest.fixture
def journal(emitter: StandInEmitter, records: Records) -> Journal:
    return journal_of(emitter, records)


def journal_of(emitter: StandInEmitter, records: Records, **steps: bytes) -> Journal:
    recorded = Recorded(steps, {}, {})
    return Journal("j", emitter, records, recorded=recorded, kept=None)


def at(seq: int) -> EventId:
    return EventId(EPOCH, seq)


async def test_a_step_is_recorded_once_its_events_are_in_the_log(
    journal: Journal, emitter: StandInEmitter, records: Records
) -> None:
    await emitter.put("text.delta", b"before")
    step = await journal.step("pay", [5])
    with step.entered():
        await emitter.put("text.delta", b"inside", current_step())
        await emitter.put("text.delta", b"inside", current_step())
    assert await journal.record(step, {"paid": 5}) == {"paid": 5}
    [outcome] = records.outcomes
    assert mark_of(outcome.mark) == Mark(at(4), Position(None, (), 0), [IdRange(at(3), at(4))])
    assert records.resumes == [at(5)]


async def test_what_is_emitted_while_a_step_is_recorded_comes_behind_it(
    journal: Journal, emitter: StandInEmitter, records: Records
) -> None:
    step = await journal.step("pay", [])
    flush = emitter.flush

    async def slow() -> None:
        await emitter.put("text.delta", b"from another agent")
        await flush()

    emitter.flush = slow  # type: ignore[method-assign]
    await journal.record(step, None)
    assert records.resumes == [at(2)]


async def test_no_step_begins_once_another_attempt_has_the_session(journal: Journal, records: Records) -> None:
    records.fenced = True
    with pytest.raises(Fenced):
        await journal.step("pay", [])


async def test_the_same_step_in_another_agent_or_within_another_step_is_another(journal: Journal) -> None:
    plain, again, named = [await journal.step("pay", [5], agent) for agent in (None, None, "a")]
    with plain.entered():
        inner = await journal.step("pay", [5])
    assert len({step.key for step in (plain, again, named, inner)}) == 4
    assert [step.position for step in (plain, again, named, inner)] == [
        Position(None, (), 0),
        Position(None, (), 1),
        Position("a", (), 0),
        Position(None, (plain.key,), 0),
    ]


async def test_a_task_that_outlives_its_step_is_not_in_it(journal: Journal) -> None:
    step, left = await journal.step("pay", []), asyncio.Event()

    async def later() -> Step | None:
        await left.wait()
        return current_step()

    with step.entered():
        task = asyncio.create_task(later())
        assert current_step() is step
    left.set()
    assert await task is None
    assert current_step() is None


async def test_what_a_worker_of_schema_0_recorded_is_known_for_any_agent(
    emitter: StandInEmitter, records: Records
) -> None:
    first = journal_of(emitter, records)
    keys = [(await first.step("pay", [5])).key for _ in range(3)]
    later = journal_of(emitter, records, **{keys[0]: b"1", keys[1]: b"2"})
    named = await later.step("pay", [5], "a")
    plain = await later.step("pay", [5])
    assert [(step.key, step.result) for step in (named, plain)] == [(keys[0], 1), (keys[1], 2)]
    assert not (await later.step("pay", [5], "a")).done


def test_a_mark_is_read_as_it_was_written() -> None:
    mark = Mark(at(9), Position("a", ("outer:0:1", "inner:0:2"), 3), [IdRange(at(2), at(4)), IdRange(at(7), at(7))])
    assert mark_of(mark.encoded()) == mark
    assert orjson.loads(mark.encoded())["v"] == 1
