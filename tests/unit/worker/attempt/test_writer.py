"""The writer against a log of this file's own: what goes in one append, when, and what is done after trouble."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest
from holdfast.shared.errors import Fenced, LogFull, LogGone
from holdfast.shared.ids import EventId
from holdfast.shared.log.log_replies import Appended, AppendOutcome, AppendPermit, Event, Finished, Head, LogBehind
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.redis.errors import RedisConnectionError
from holdfast.worker.attempt.appends import Bounds
from holdfast.worker.attempt.writer import Writer
from holdfast.worker.process.outage import Outage

from tests.support.process import until

EPOCH = 1763683200123
ENDED = Event("job.completed", "j", b"end")
QUESTION = b'{"question_id":"q1"}'


class StandInLog:
    """A log in memory that answers like the scripts do. `before` and `after` of an append may raise or wait."""

    def __init__(self) -> None:
        self.entries: list[Event] = [Event("job.started", "j", b"start")]
        self.appends: list[list[bytes]] = []
        self.questions: list[str] = []
        self.discards: list[EventId] = []
        self.attention = False
        self.in_flight = 0
        self.most_in_flight = 0
        self.permit: AppendPermit | None = None
        self.plain: list[list[bytes]] = []
        self.reply: Callable[[AppendOutcome], None] | None = None
        self.renewals: list[tuple[EventId, Callable[[Appended | None], None]]] = []
        self.before: Callable[[], Any] = lambda: None
        self.after: Callable[[], Any] = lambda: None
        self.gate = asyncio.Event()
        self.gate.set()

    async def append(self, session_id: str, epoch: int, after_seq: int, events: Sequence[Event]) -> Appended:
        async with self._flight():
            self.before()
            self._write(after_seq, events)
            self.appends.append([event.body for event in events])
            self.after()
            return Appended(len(self.entries), self.attention, self.permit)

    def append_plain(
        self,
        permit: AppendPermit,
        session_id: str,
        first: EventId,
        events: Sequence[Event],
        on_reply: Callable[[AppendOutcome], None],
    ) -> None:
        """Nothing is written before `answer`."""
        assert self.reply is None
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self.plain.append([event.body for event in events])
        self.arrived = first, list(events)
        self.reply = on_reply

    def renew_permit(
        self, permit: AppendPermit, session_id: str, last: EventId, on_reply: Callable[[Appended | None], None]
    ) -> None:
        self.renewals.append((last, on_reply))

    def answer(self, outcome: AppendOutcome, *, written: bool) -> None:
        """Let the append without the script arrive, if it is to be written, and answer it."""
        assert self.reply is not None
        (epoch, seq), events = self.arrived
        if written:
            assert (epoch, seq) == (EPOCH, len(self.entries) + 1)
            self.entries += events
        reply, self.reply = self.reply, None
        self.in_flight -= 1
        reply(outcome)

    async def ask(self, session_id: str, epoch: int, after_seq: int, event: Event, question_id: str) -> int:
        async with self._flight():
            self._write(after_seq, [event])
            self.questions.append(question_id)
            return len(self.entries)

    async def rewind(self, session_id: str, epoch: int, after_seq: int, event: Event, discard_from: EventId) -> int:
        async with self._flight():
            self._write(after_seq, [event])
            self.discards.append(discard_from)
            return len(self.entries)

    async def finish(
        self, session_id: str, epoch: int, after_seq: int, event: Event, *, messages: Sequence[bytes], usage: bytes
    ) -> Finished:
        async with self._flight():
            self._write(after_seq, [event])
            return Finished(len(self.entries), Head("next", "agent"))

    @asynccontextmanager
    async def _flight(self) -> AsyncIterator[None]:
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await asyncio.sleep(0)
            await self.gate.wait()
            yield
        finally:
            self.in_flight -= 1

    def _write(self, after_seq: int, events: Sequence[Event]) -> None:
        if len(self.entries) < after_seq:
            raise LogBehind(EventId(EPOCH, len(self.entries)))
        self.entries += events[len(self.entries) - after_seq :]

    def bodies(self) -> list[bytes]:
        return [event.body for event in self.entries[1:]]


class Harness:
    def __init__(self, log: StandInLog, window_s: float, bounds: Bounds) -> None:
        self.log = log
        self.intents = 0
        self.intents_read_at = 0.0
        self.lost: list[Exception] = []
        self.written: list[bytes] = []
        self.writer = Writer(
            cast("LogWriter", log),
            Outage("log"),
            self,
            session_id="s",
            job_id="j",
            epoch=EPOCH,
            window_s=window_s,
            bounds=bounds,
        )

    def on_written(self, events: Sequence[Event]) -> None:
        self.written += [event.body for event in events]

    def on_intents_read(self, at: float, *, pending: bool) -> None:
        self.intents_read_at = at
        self.intents += pending

    def on_lost(self, error: Exception) -> None:
        self.lost.append(error)

    async def delta(self, *bodies: bytes) -> None:
        for body in bodies:
            await self.writer.put("text.delta", body)

    async def finish(self, *, whole: bool = True) -> Finished:
        self.writer.gives_up_when_full = not whole
        return await self.writer.finish(ENDED, messages=list, usage=bytes)


@pytest.fixture
def log() -> StandInLog:
    return StandInLog()


@pytest.fixture
async def start(log: StandInLog) -> AsyncIterator[Callable[..., Harness]]:
    """`start(window_s=…, …bounds)` makes a writer. The window is an hour unless a test says otherwise."""
    harnesses: list[Harness] = []

    def make(window_s: float = 3600, **bounds: int) -> Harness:
        harnesses.append(Harness(log, window_s, Bounds(**bounds)))
        return harnesses[-1]

    yield make
    for harness in harnesses:
        harness.writer.stop(Fenced())


class TestBatching:
    async def test_the_first_event_of_a_quiet_stream_goes_at_once(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start()
        await harness.delta(b"a")
        await until(lambda: log.appends == [[b"a"]])

    async def test_deltas_gather_while_an_append_is_in_flight(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0)
        log.gate.clear()
        await harness.delta(b"a")
        await until(lambda: log.in_flight == 1)
        await harness.delta(b"b", b"c", b"d")
        log.gate.set()
        await harness.writer.flush()
        assert log.appends == [[b"a"], [b"b", b"c", b"d"]]

    async def test_deltas_gather_until_the_window_has_passed(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0.3)
        await harness.delta(b"a")
        await until(lambda: len(log.appends) == 1)
        await harness.delta(b"b")
        await asyncio.sleep(0)
        await harness.delta(b"c")
        await until(lambda: len(log.appends) == 2)
        assert log.appends[1] == [b"b", b"c"]

    @pytest.mark.parametrize("kind", ["tool.started", "tool.called", "status", "data", "usage", "my.own"])
    async def test_what_is_no_delta_never_waits(
        self, log: StandInLog, start: Callable[..., Harness], kind: str
    ) -> None:
        harness = start()  # the window is an hour
        await harness.delta(b"a")
        await until(lambda: len(log.appends) == 1)
        await harness.delta(b"b")
        await harness.writer.put(kind, b"now")
        await until(lambda: log.appends == [[b"a"], [b"b", b"now"]])

    async def test_what_is_no_delta_and_comes_during_an_append_goes_right_after_it(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start()
        log.gate.clear()
        await harness.delta(b"a")
        await until(lambda: log.in_flight == 1)
        await harness.writer.put("status", b"now")
        log.gate.set()
        await until(lambda: log.appends == [[b"a"], [b"now"]])

    async def test_flush_does_not_wait_for_the_window(self, log: StandInLog, start: Callable[..., Harness]) -> None:
        harness = start()
        await harness.delta(b"a")
        await harness.writer.flush()
        await harness.delta(b"b")
        await harness.writer.flush()
        assert log.bodies() == [b"a", b"b"]
        assert harness.written == [b"a", b"b"]

    async def test_a_batch_is_bounded_by_count_and_by_bytes(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(batch_events=3, batch_bytes=10)
        await harness.delta(b"1", b"2", b"3", b"4", b"55555", b"66666", b"7" * 20, b"8")
        await harness.writer.flush()
        assert log.appends == [[b"1", b"2", b"3"], [b"4", b"55555"], [b"66666"], [b"7" * 20], [b"8"]]

    @pytest.mark.parametrize("bounds", [{"waiting_events": 3}, {"waiting_bytes": 3}])
    async def test_put_waits_once_too_much_is_waiting(
        self, log: StandInLog, start: Callable[..., Harness], bounds: dict[str, int]
    ) -> None:
        harness = start(window_s=0, **bounds)
        log.gate.clear()
        await harness.delta(b"1", b"2", b"3")
        late = asyncio.create_task(harness.delta(b"4"))
        await asyncio.sleep(0.02)
        assert not late.done()
        log.gate.set()
        await late
        await harness.writer.flush()
        assert log.bodies() == [b"1", b"2", b"3", b"4"]

    async def test_one_append_is_in_flight_at_a_time(self, log: StandInLog, start: Callable[..., Harness]) -> None:
        harness = start(window_s=0)
        for number in range(50):
            await harness.delta(b"%d" % number)
            await asyncio.sleep(0)
            if number % 10 == 0:
                await harness.writer.end_waiting(Event("job.cancelled", f"other{number}", b"cancelled"))
        await harness.finish()
        assert log.most_in_flight == 1
        assert [body for body in log.bodies() if body.isdigit()] == [b"%d" % number for number in range(50)]

    async def test_no_task_is_left_while_there_is_nothing_to_write(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        before = len(asyncio.all_tasks())
        harness = start()
        await harness.delta(b"a")
        assert len(asyncio.all_tasks()) == before + 1
        await harness.writer.flush()
        await until(lambda: len(asyncio.all_tasks()) == before)


class StandInPermit:
    """Holds, and ages, for as long as it is told to."""

    def __init__(self) -> None:
        self.valid = True
        self.old = False
        self.at = 0.0

    def is_valid(self, now: float) -> bool:
        return self.valid

    def needs_renewal(self, now: float) -> bool:
        return self.old


@pytest.fixture
def permit(log: StandInLog) -> StandInPermit:
    """From now on the log's appends by script prove something."""
    permit = StandInPermit()
    log.permit = cast("AppendPermit", permit)
    return permit


@pytest.fixture
async def permitted(log: StandInLog, permit: StandInPermit, start: Callable[..., Harness]) -> Harness:
    """A writer without a window whose first event the script took."""
    harness = start(window_s=0)
    await harness.delta(b"a")
    await harness.writer.flush()
    return harness


class TestWithoutTheScript:
    async def test_a_single_event_goes_without_it_once_it_took_one(self, log: StandInLog, permitted: Harness) -> None:
        await permitted.delta(b"b")
        assert log.plain == [[b"b"]]
        log.answer(AppendOutcome.ADDED, written=True)
        await permitted.writer.flush()
        assert log.appends == [[b"a"]]
        assert permitted.written == log.bodies() == [b"a", b"b"]

    async def test_once_the_permit_has_expired_the_script_is_asked(
        self, log: StandInLog, permit: StandInPermit, permitted: Harness
    ) -> None:
        permit.valid = False
        await permitted.delta(b"b")
        await permitted.writer.flush()
        assert log.plain == []
        assert log.appends == [[b"a"], [b"b"]]

    async def test_what_gathered_goes_together(self, log: StandInLog, permitted: Harness) -> None:
        await permitted.delta(b"b", b"c", b"d")
        log.answer(AppendOutcome.ADDED, written=True)
        assert log.plain == [[b"b"], [b"c", b"d"]]
        log.answer(AppendOutcome.ADDED, written=True)
        await permitted.writer.flush()
        assert log.appends == [[b"a"]]
        assert permitted.written == log.bodies() == [b"a", b"b", b"c", b"d"]

    @pytest.mark.parametrize("written", [True, False])
    async def test_what_is_not_sure_is_asked_of_the_script_under_the_same_ids(
        self, log: StandInLog, permitted: Harness, written: bool
    ) -> None:
        await permitted.delta(b"b", b"c", b"d")
        log.answer(AppendOutcome.ADDED, written=True)
        await permitted.delta(b"e")
        log.answer(AppendOutcome.UNKNOWN, written=written)
        await permitted.writer.flush()
        assert log.plain == [[b"b"], [b"c", b"d"]]
        assert log.appends == [[b"a"], [b"c", b"d", b"e"]]
        assert log.bodies() == permitted.written == [b"a", b"b", b"c", b"d", b"e"]

    @pytest.mark.parametrize("written", [True, False])
    async def test_the_end_of_another_job_waits_until_what_is_not_sure_is(
        self, log: StandInLog, permit: StandInPermit, permitted: Harness, written: bool
    ) -> None:
        await permitted.delta(b"b")
        ending = asyncio.create_task(permitted.writer.end_waiting(Event("job.cancelled", "other", b"cancelled")))
        await asyncio.sleep(0.01)
        assert log.most_in_flight == 1
        log.answer(AppendOutcome.UNKNOWN, written=written)
        await ending
        permit.valid = False
        await permitted.delta(b"c")
        await permitted.finish()
        assert log.bodies() == [b"a", b"b", b"cancelled", b"c", b"end"]

    async def test_the_end_of_another_job_does_not_wait_for_room_for_what_was_refused(
        self, log: StandInLog, permitted: Harness
    ) -> None:
        await permitted.delta(b"b")
        ending = asyncio.create_task(permitted.writer.end_waiting(Event("job.cancelled", "other", b"cancelled")))
        await asyncio.sleep(0)
        log.before = failing_times(10**9, LogFull())
        log.answer(AppendOutcome.REFUSED, written=False)
        await ending
        assert log.bodies() == [b"a", b"cancelled"]
        log.before = lambda: None
        await permitted.finish()
        assert log.bodies() == [b"a", b"cancelled", b"b", b"end"]

    async def test_a_question_never_goes_without_it(self, log: StandInLog, permitted: Harness) -> None:
        await permitted.delta(b"b")
        await permitted.delta(b"c")
        await permitted.writer.put("question.asked", QUESTION)
        log.answer(AppendOutcome.ADDED, written=True)
        log.answer(AppendOutcome.ADDED, written=True)
        await permitted.writer.flush()
        assert log.plain == [[b"b"], [b"c"]]
        assert log.questions == ["q1"]

    async def test_deltas_gather_all_the_same(
        self, log: StandInLog, permit: StandInPermit, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0.2)
        await harness.delta(b"a")
        await until(lambda: len(log.appends) == 1)
        await harness.delta(b"b")
        assert log.plain == []
        await until(lambda: log.plain == [[b"b"]])
        log.answer(AppendOutcome.ADDED, written=True)

    async def test_an_answer_to_a_stopped_writer_means_nothing(self, log: StandInLog, permitted: Harness) -> None:
        await permitted.delta(b"b")
        permitted.writer.stop(Fenced())
        log.answer(AppendOutcome.ADDED, written=True)
        assert permitted.written == [b"a"]
        assert permitted.lost == []


class TestRenewal:
    """Of the permit by which events go without the script."""

    @pytest.fixture
    async def renewing(self, log: StandInLog, permit: StandInPermit, permitted: Harness) -> Harness:
        """A writer that asks whether the log ends with its newest event, `b`."""
        permit.old = True
        await permitted.delta(b"b")
        log.answer(AppendOutcome.ADDED, written=True)
        return permitted

    async def test_what_ages_is_renewed_by_one_look(
        self, log: StandInLog, permit: StandInPermit, renewing: Harness
    ) -> None:
        await renewing.delta(b"c")
        log.answer(AppendOutcome.ADDED, written=True)
        [(last, answer)] = log.renewals
        assert last == (EPOCH, 3)
        renewed = StandInPermit()
        renewed.at = 7.0
        answer(Appended(3, attention=False, permit=cast("AppendPermit", renewed)))
        permit.valid = False
        await renewing.delta(b"d")
        assert log.plain[-1] == [b"d"]
        assert renewing.intents_read_at == 7.0
        assert renewing.intents == 0

    async def test_what_is_young_is_left_alone(self, log: StandInLog, permitted: Harness) -> None:
        await permitted.delta(b"b")
        log.answer(AppendOutcome.ADDED, written=True)
        assert log.renewals == []

    async def test_it_tells_of_attention(self, log: StandInLog, renewing: Harness) -> None:
        log.renewals[0][1](Appended(3, attention=True, permit=log.permit))
        assert renewing.intents == 1

    async def test_without_it_the_script_is_asked(self, log: StandInLog, renewing: Harness) -> None:
        log.renewals[0][1](None)
        await renewing.delta(b"c")
        await renewing.writer.flush()
        assert log.appends == [[b"a"], [b"c"]]

    async def test_it_brings_no_lost_permit_back(self, log: StandInLog, renewing: Harness) -> None:
        await renewing.delta(b"c")
        log.permit = None
        log.answer(AppendOutcome.UNKNOWN, written=False)
        log.renewals[0][1](Appended(3, attention=False, permit=cast("AppendPermit", StandInPermit())))
        await renewing.writer.flush()
        await renewing.delta(b"d")
        await renewing.writer.flush()
        assert log.appends == [[b"a"], [b"c"], [b"d"]]


class TestTrouble:
    async def test_a_reply_that_is_lost_after_the_write_doubles_nothing(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0)
        log.after = failing_once(RedisConnectionError("the reply was lost"))
        await harness.delta(b"a", b"b")
        await harness.writer.flush()
        await harness.delta(b"c")
        await harness.finish()
        assert log.appends[0] == log.appends[1] == [b"a", b"b"]
        assert log.bodies() == [b"a", b"b", b"c", b"end"]

    @pytest.mark.parametrize("error", [RedisConnectionError("away"), LogFull()])
    async def test_it_waits_trouble_out_and_loses_nothing(
        self, log: StandInLog, start: Callable[..., Harness], error: Exception
    ) -> None:
        harness = start(window_s=0)
        log.before = failing_times(3, error)
        await harness.delta(b"a")
        await harness.writer.put("status", b"b")
        await harness.finish()
        assert log.bodies() == [b"a", b"b", b"end"]

    async def test_a_tail_that_the_log_lost_is_written_again_under_the_same_ids(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0, batch_events=2)
        for body in (b"a", b"b", b"c", b"d", b"e"):
            await harness.delta(body)
            await harness.writer.flush()
        del log.entries[2:]
        await harness.delta(b"f")
        await harness.finish()
        assert log.bodies() == [b"a", b"b", b"c", b"d", b"e", b"f", b"end"]
        assert harness.written == [b"a", b"b", b"c", b"d", b"e", b"f"]

    async def test_a_tail_that_is_lost_while_it_is_written_again_is_mended_too(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0, batch_events=1)
        for body in (b"a", b"b", b"c"):
            await harness.delta(body)
            await harness.writer.flush()
        del log.entries[3:]
        appends = iter(range(100))

        def forget_more() -> None:
            if next(appends) == 1:
                del log.entries[2:]

        log.before = forget_more
        await harness.finish()
        assert log.bodies() == [b"a", b"b", b"c", b"end"]

    async def test_the_end_of_another_job_is_written_again_as_an_end(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0)
        await harness.delta(b"a")
        await harness.writer.flush()
        await harness.writer.end_waiting(Event("job.cancelled", "other", b"cancelled"))
        await harness.delta(b"b")
        await harness.writer.flush()
        del log.entries[1:]
        log.appends.clear()
        await harness.finish()
        assert log.bodies() == [b"a", b"cancelled", b"b", b"end"]
        assert [b"cancelled"] not in log.appends  # an append would leave that job's record open

    async def test_a_tail_longer_than_what_is_kept_ends_the_attempt(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0, kept_events=2)
        for body in (b"a", b"b", b"c"):
            await harness.delta(body)
            await harness.writer.flush()
        del log.entries[1:]
        await harness.delta(b"d")
        with pytest.raises(LogGone):
            await harness.writer.flush()
        assert isinstance(harness.lost[0], LogGone)

    async def test_a_fenced_writer_says_so_to_everybody(self, log: StandInLog, start: Callable[..., Harness]) -> None:
        harness = start(window_s=0)
        log.before = failing_times(1000, Fenced())
        await harness.delta(b"a")
        with pytest.raises(Fenced):
            await harness.writer.flush()
        with pytest.raises(Fenced):
            await harness.delta(b"b")
        with pytest.raises(Fenced):
            await harness.finish()
        assert isinstance(harness.lost[0], Fenced)
        assert log.bodies() == []

    async def test_a_stopped_writer_gives_up_in_the_middle_of_an_outage(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0)
        log.before = failing_times(10**9, RedisConnectionError("away"))
        await harness.delta(b"a")
        finishing = asyncio.create_task(harness.finish())
        await asyncio.sleep(0.02)
        harness.writer.stop(Fenced())
        with pytest.raises(Fenced):
            await finishing
        assert log.bodies() == []


class TestEnd:
    async def test_finish_writes_what_waits_first(self, log: StandInLog, start: Callable[..., Harness]) -> None:
        harness = start()
        await harness.delta(b"a", b"b")
        finished = await harness.finish()
        assert log.bodies() == [b"a", b"b", b"end"]
        assert finished == Finished(4, Head("next", "agent"))

    async def test_a_question_comes_after_what_waits_and_before_what_follows(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start()
        await harness.delta(b"a", b"b")
        await harness.writer.put("question.asked", QUESTION)
        await harness.delta(b"c")
        await harness.finish()
        assert log.bodies() == [b"a", b"b", QUESTION, b"c", b"end"]
        assert log.questions == ["q1"]
        assert harness.written == [b"a", b"b", QUESTION, b"c"]

    async def test_the_end_of_a_cancelled_job_does_not_wait_for_room(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start(window_s=0)
        log.before = failing_times(10**9, LogFull())
        await harness.delta(b"a")
        await harness.finish(whole=False)
        assert log.bodies() == [b"end"]
        assert harness.written == []

    async def test_attention_in_an_answer_is_passed_on(self, log: StandInLog, start: Callable[..., Harness]) -> None:
        harness = start(window_s=0)
        await harness.delta(b"a")
        await harness.writer.flush()
        assert harness.intents == 0
        log.attention = True
        log.permit = cast("AppendPermit", StandInPermit())
        await harness.delta(b"b")
        await harness.writer.flush()
        assert harness.intents == 1


def failing_times(count: int, error: Exception) -> Callable[[], None]:
    left = iter(range(count))

    def fail() -> None:
        if next(left, None) is not None:
            raise error

    return fail


def failing_once(error: Exception) -> Callable[[], None]:
    return failing_times(1, error)


class TestCheckpoints:
    async def test_the_delta_behind_one_is_marked_and_no_other(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        writer = start().writer
        await writer.put("text.delta", b'{"text":"a"}')
        assert writer.checkpoint() == 1
        await writer.put("text.delta", b'{"text":"b"}')
        await writer.put("text.delta", b'{"text":"c"}')
        assert writer.checkpoint() == 3
        await writer.put("text.delta", b'{"text":"d","checkpoint":true}')
        assert writer.checkpoint() == 4
        await writer.put("status", b'{"message":"e"}')
        await writer.put("text.delta", b'{"text":"f"}')
        await writer.flush()
        assert [body for body in log.bodies() if b"checkpoint" in body] == [
            b'{"text":"b","checkpoint":true}',
            b'{"text":"d","checkpoint":true}',
        ]

    async def test_an_events_id_is_known_though_the_end_of_another_job_came_in_between(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start()
        await harness.delta(b"a", b"b")
        await harness.writer.flush()
        await harness.writer.end_waiting(Event("job.cancelled", "other", b"cancelled"))
        await harness.delta(b"c")
        await harness.writer.flush()
        assert log.bodies() == [b"a", b"b", b"cancelled", b"c"]
        assert [harness.writer.id_of(number).seq for number in (0, 1, 2, 3)] == [1, 2, 3, 5]

    async def test_a_further_start_goes_by_a_script_of_its_own(
        self, log: StandInLog, start: Callable[..., Harness]
    ) -> None:
        harness = start()
        await harness.delta(b"a")
        await harness.writer.put("job.started", b'{"discard_from":"%d-1"}' % EPOCH)
        await harness.delta(b"b")
        await harness.writer.flush()
        assert log.discards == [EventId(EPOCH, 1)]
        assert [len(batch) for batch in log.appends] == [1, 1]
