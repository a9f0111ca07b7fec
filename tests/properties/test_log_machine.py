"""A session on a real server through random claims, appends, lost replies, zombies, trims, losses and restarts.

Whatever Hypothesis comes up with, the history checker finds nothing: what was acknowledged is told or declared missing.
"""

from __future__ import annotations

import asyncio
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.stream.replay import Replay
from holdfast.shared.errors import Fenced, LogGone
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.event_log import Entry
from holdfast.shared.log.log_replies import Appended, AppendOutcome, AppendPermit, Attempt, Event, LogBehind
from holdfast.shared.redis.errors import ConnectionLost
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from tests.support import history
from tests.support.history import Chain, History, Transcript, told
from tests.support.log import Session, completed, delta
from tests.support.patience import patient
from tests.support.redis_server import RedisServer
from tests.support.sse import Frame, SseParser


class Writer:
    """An attempt, and all that it ever wrote, so that it can write a lost tail again."""

    def __init__(self, attempt: Attempt) -> None:
        self.attempt = attempt
        self.events: list[Event] = []
        self.permit: AppendPermit | None = None

    @property
    def seq(self) -> int:
        return 1 + len(self.events)


class LogMachine(RuleBasedStateMachine):
    """One session, its writers living and dead, and readers that come back by their cursors."""

    server: ClassVar[RedisServer]

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.session = Session(self.server.url)
        patient(self.session.redis)
        self.chain = Chain()
        self.history = History(chains={"s": self.chain})
        self.writer: Writer | None = None
        self.zombies: list[Writer] = []
        self.seen: list[EventId] = []
        self.jobs = self.words = self.delivery = 0
        self.forget()
        self.readers = [self.history.client("s", f"reader {number}") for number in range(3)]

    def run(self, call: Any) -> Any:
        return self.loop.run_until_complete(call)

    def teardown(self) -> None:
        for reader in self.history.transcripts:
            self.read(reader)
        found = self.run(history.final_log(self.session.log, "s"))
        self.run(self.session.aclose())
        self.loop.close()
        assert self.history.violations({"s": found}) == []

    # Writing.

    @precondition(lambda self: self.writer is None)
    @rule()
    def submit_and_claim(self) -> None:
        self.jobs += 1
        self.run(self.session.submit(f"j{self.jobs}"))
        self.delivery = 0
        self.claim()

    @precondition(lambda self: self.writer is not None)
    @rule()
    def take_over(self) -> None:
        assert self.writer is not None
        self.zombies.append(self.writer)
        self.claim()

    def claim(self) -> None:
        self.delivery += 1
        claimed = self.run(self.session.try_claim(f"j{self.jobs}", delivery=self.delivery))
        self.writer = Writer(claimed) if isinstance(claimed, Attempt) else None
        self.note_claim()

    def note_claim(self) -> None:
        """Take the entry that the claim appended, if it did, into the chain."""
        last = self.run(self.session.log.last("s"))
        if last is None or last.id.seq != 1:
            return
        self.chain.prevs[last.id] = last.prev
        if self.writer is not None and self.writer.attempt.discard_from is not None:
            self.chain.discarded.append((self.writer.attempt.discard_from, last.id))

    @precondition(lambda self: self.writer is not None)
    @rule(count=st.integers(1, 8), reply_lost=st.booleans(), plain=st.booleans())
    def append(self, count: int, reply_lost: bool, plain: bool) -> None:
        writer = self.writer
        assert writer is not None
        batch = [delta(writer.attempt.job_id, f"w{self.words + n}") for n in range(count)]
        self.words += count
        sure = plain and self.written_plainly(writer, batch) and not reply_lost
        if not sure and self.written(writer, batch) and reply_lost:
            assert self.written(writer, batch)
        if self.writer is not None:
            for number, event in enumerate(batch, writer.seq + 1):
                self.history.appended("s", EventId(writer.attempt.epoch, number), event.body, "ok")
            writer.events += batch

    def written(self, writer: Writer, batch: list[Event]) -> bool:
        """Append behind what the writer wrote, and give the log back what it lost. False: this writer is over."""
        while True:
            try:
                writer.permit = self.by_script(writer, writer.seq, batch).permit
            except LogBehind as behind:
                after = behind.top.seq if behind.top.epoch == writer.attempt.epoch else 0
                self.by_script(writer, after, writer.events[max(after - 1, 0) :])
            except (Fenced, LogGone):
                self.abandon()
                return False
            else:
                return True

    def by_script(self, writer: Writer, after: int, batch: list[Event]) -> Appended:
        """Append by the script, again where the connection turns out to be one from before a restart."""
        while True:
            with suppress(ConnectionLost):
                appended: Appended = self.run(self.session.log_writer.append("s", writer.attempt.epoch, after, batch))
                return appended

    def written_plainly(self, writer: Writer, batch: list[Event]) -> bool:
        """Append without the script, where the rule for it allows that now. False: the script has to."""
        if writer.permit is None or not writer.permit.is_valid(self.loop.time()):
            return False
        first = EventId(writer.attempt.epoch, writer.seq + 1)
        rendered: AppendOutcome = self.run(self.session.append_plain(writer.permit, first, *batch))
        return rendered is AppendOutcome.ADDED

    @precondition(lambda self: self.writer is not None and self.writer.permit is not None)
    @rule()
    def renew_permit(self) -> None:
        """Renew the permit, if the log is as the writer left it."""
        assert self.writer is not None
        assert self.writer.permit is not None
        seen = self.run(
            self.session.renew_permit(self.writer.permit, EventId(self.writer.attempt.epoch, self.writer.seq))
        )
        self.writer.permit = seen and seen.permit

    def abandon(self) -> None:
        """The claim itself was lost, or the log: whoever comes next begins anew."""
        assert self.writer is not None
        self.zombies.append(self.writer)
        self.writer = None

    @precondition(lambda self: self.zombies)
    @rule(data=st.data())
    def zombie_append(self, data: st.DataObject) -> None:
        writer = data.draw(st.sampled_from(self.zombies))
        event = delta(writer.attempt.job_id, f"zombie {self.words}")
        self.words += 1
        assert not self.written_plainly(writer, [event])
        with pytest.raises((Fenced, LogGone, LogBehind)):
            self.by_script(writer, writer.seq, [event])
        self.history.appended("s", EventId(writer.attempt.epoch, writer.seq + 1), event.body, "fail")

    @precondition(lambda self: self.writer is not None)
    @rule(twice=st.booleans())
    def finish(self, twice: bool) -> None:
        writer = self.writer
        assert writer is not None
        end = completed(writer.attempt.job_id)
        if not self.written(writer, []):
            return
        try:
            for _ in range(1 + twice):
                self.run(self.session.finish(writer.attempt, writer.seq))
        except (Fenced, LogGone):
            self.abandon()
            return
        self.history.appended("s", EventId(writer.attempt.epoch, writer.seq + 1), end.body, "ok")
        self.zombies.append(writer)
        writer.permit = None  # a writer sends nothing behind its end
        writer.events.append(end)
        self.writer = None

    # Reading.

    @rule(number=st.integers(0, 2))
    def come_back(self, number: int) -> None:
        self.read(self.readers[number])

    @precondition(lambda self: self.seen)
    @rule(data=st.data())
    def resume_from_any_old_cursor(self, data: st.DataObject) -> None:
        cursor = data.draw(st.sampled_from(self.seen))
        self.read(self.history.client("s", f"resumed at {cursor}", start=cursor))

    @precondition(lambda self: self.seen)
    @rule(data=st.data(), raw=st.booleans())
    def replay_while_the_log_is_trimmed(self, data: st.DataObject, raw: bool) -> None:
        """As a gateway serves a viewer: compact or raw, the log trimmed between any two pages, the viewer cut after any
        frame. It comes back with the last id that it received."""
        self.witness()
        cursor = data.draw(st.sampled_from([ORIGIN, *self.seen]))
        viewer = self.history.client("s", f"replay from {cursor}", raw=raw, start=cursor)
        while not self.replay(viewer, data):
            pass

    def replay(self, viewer: Transcript, data: st.DataObject) -> bool:
        """One connection. False: it was cut."""
        replay, cursor = Replay(SSE, None, raw=viewer.raw), viewer.cursor
        replay.add_discards(self.run(self.session.log.discards("s")))
        parser = SseParser()
        while True:
            page = self.run(self.session.log.read("s", cursor, data.draw(st.integers(1, 7))))
            rendered = replay.render(cursor, page)
            frames = parser.feed(rendered.data + (replay.remaining() if rendered.at_end else b""))
            cut_after = data.draw(st.integers(1, 8))
            for frame in frames[:cut_after]:
                viewer.accept(frame)
            if len(frames) >= cut_after:
                return False
            assert rendered.at_end or not frames or not is_trimmed_gap(frames[-1]), "a gap without the event behind it"
            if rendered.at_end:
                return True
            cursor = rendered.cursor
            oldest = EventId(cursor.epoch, cursor.seq + data.draw(st.integers(0, 4)))
            self.run(self.session.redis.xtrim(self.session.keys.log, minid=str(oldest), approximate=False))

    def read(self, reader: Transcript) -> None:
        for _ in range(1000):
            page = self.run(self.session.log.read("s", reader.cursor, 7))
            again = page.gap is not None and page.gap.reason == "expired" and reader.cursor == ORIGIN
            if page.gap is not None and not again:
                reader.steps.append(history.Gap(page.gap.reason, page.gap.position))
            self.take(reader, page.entries)
            if again or not (page.more or page.gap is not None):
                return
        raise AssertionError("the log is read for ever")

    def take(self, reader: Transcript, entries: list[Entry]) -> None:
        for entry in entries:
            reader.steps.append(told(entry.id, entry.body))
            self.seen.append(entry.id)

    # Losing. Somebody has seen everything before, so that all that goes has to be told.

    def witness(self) -> None:
        self.read(self.readers[0])

    @rule(left=st.integers(1, 30))
    def trim(self, left: int) -> None:
        self.witness()
        self.run(self.session.redis.xtrim(self.session.keys.log, maxlen=left, approximate=False))

    @rule()
    def expire(self) -> None:
        self.witness()
        self.run(self.session.redis.delete(self.session.keys.log))

    def reconnect(self) -> None:
        """Use every connection of the client once: each finds out by its first call that its server went away."""
        for _ in range(8):
            with suppress(ConnectionLost):
                self.run(self.session.redis.ping())

    @rule()
    def restart_and_keep(self) -> None:
        self.server.restart()
        self.reconnect()

    @rule()
    def restart_and_lose(self) -> None:
        self.witness()
        self.forget()

    def forget(self) -> None:
        self.server.kill()
        shutil.rmtree(self.server.folder / "appendonlydir")
        self.server.start()
        self.reconnect()

    @rule(lost_bytes=st.integers(1, 3000))
    def restart_and_truncate(self, lost_bytes: int) -> None:
        self.witness()
        self.server.kill()
        (file,) = (self.server.folder / "appendonlydir").glob("*.incr.aof")
        with file.open("r+b") as aof:
            aof.truncate(max(0, file.stat().st_size - lost_bytes))
        self.server.start()
        self.reconnect()


def is_trimmed_gap(frame: Frame) -> bool:
    return bool(frame.json.get("reason") == "trimmed")


@pytest.fixture
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("machine"), aof=True, fsync="always")
    server.start()
    yield server
    server.kill()


@pytest.mark.timeout(240)
def test_whatever_happens_to_a_log_its_history_keeps_the_promises(
    server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Here a server that lost a claim is back within milliseconds: without the random part of an epoch the next one is
    # later than the lost one, as it is after a second or more elsewhere.
    monkeypatch.setattr(secrets, "randbelow", lambda _: 0)
    LogMachine.server = server
    run_state_machine_as_test(
        LogMachine,
        settings=settings(
            max_examples=12,
            stateful_step_count=25,
            deadline=None,
            derandomize=True,
            phases=(Phase.generate,),  # a server is too slow for shrinking; the steps that are printed do
            suppress_health_check=list(HealthCheck),
        ),
    )
