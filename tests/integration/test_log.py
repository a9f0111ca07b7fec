"""The log's guards, each on its own. The scripts as a whole run against a model in test_log_model.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import orjson
import pytest
from holdfast.shared.errors import (
    Fenced,
    IdempotencyMismatch,
    JobUnknown,
    LogFull,
    LogGone,
    QueueFull,
    SessionBusy,
    SessionUnknown,
)
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.entries import chained
from holdfast.shared.log.event_log import Gap
from holdfast.shared.log.log_replies import Attempt, Event, LogBehind, Refusal

from tests.support.log import Session, delta, said
from tests.support.process import until

OpenSession = Callable[..., Session]


async def verdict(session: Session, job_id: str = "j1", *, delivery: int = 1, offered: bool = True) -> str:
    claimed = await session.try_claim(job_id, delivery=delivery, offered=offered)
    return "run" if isinstance(claimed, Attempt) else claimed.verdict


class TestClaim:
    async def test_a_claim_appends_the_start_that_names_the_id_before_it(self, session: Session) -> None:
        first = await session.started("j1")
        await session.finish(first, 1)
        second = await session.started("j2")
        page = await session.log.read("s", EventId(first.epoch, 2))
        assert [(entry.id, entry.kind, entry.prev) for entry in page.entries] == [
            (EventId(second.epoch, 1), "job.started", EventId(first.epoch, 2))
        ]

    async def test_a_claim_repeated_with_its_claim_id_answers_the_same_and_starts_once(self, session: Session) -> None:
        await session.submit()
        claims = [await session.try_claim(claim_id="same") for _ in range(3)]
        assert claims[0] == claims[1] == claims[2]
        assert await session.redis.xlen(session.keys.log) == 1

    async def test_the_second_of_two_deliveries_of_one_entry_is_stale(self, session: Session) -> None:
        await session.submit()
        verdicts = await asyncio.gather(*(verdict(session) for _ in range(10)))
        assert sorted(verdicts) == ["run"] + ["stale"] * 9

    async def test_a_job_that_is_not_the_head_of_its_line_waits(self, session: Session) -> None:
        await session.started("j1")
        await session.submit("j2")
        assert await verdict(session, "j2") == "wait"

    async def test_a_takeover_starts_the_next_attempt_and_says_what_to_discard(self, session: Session) -> None:
        first = await session.started()
        await session.append(first, 1, "half")
        second = await session.claim(delivery=2)
        assert (second.number, second.discard_from) == (2, EventId(first.epoch, 1))
        assert second.epoch > first.epoch
        last = await session.log.last("s")
        assert last is not None
        started = orjson.loads(last.body)
        assert started["discard_from"] == f"{first.epoch}-1"
        assert started["attempt"] == 2

    async def test_epochs_increase_when_the_servers_clock_is_behind_the_last_one(self, session: Session) -> None:
        await session.submit()
        ahead = 2**52
        await session.redis.hset(session.keys.state, "epoch", ahead)
        assert (await session.claim()).epoch > ahead

    async def test_a_job_whose_attempts_all_died_ends_as_poisoned_with_what_it_said(
        self, open_session: OpenSession
    ) -> None:
        session = open_session(max_attempts=2)
        await session.submit()
        await session.claim(delivery=1)
        second = await session.claim(delivery=2)
        assert second.last
        await session.append(second, 1, "partial")
        assert await verdict(session, delivery=3) == "ended"
        state = await session.sessions.job("s", "j1")
        assert state.status == "failed"
        assert state.ending["error"]["code"] == "poisoned"
        messages = await said(session.sessions)
        assert [message["content"] for message in messages] == ["hello", "partial"]

    async def test_a_job_does_not_end_for_a_strike_while_the_death_is_a_guess(self, open_session: OpenSession) -> None:
        session = open_session(max_attempts=1)
        first = await session.started()
        claim = partial(session.log_writer.claim, "s", "j1", claim_id="c2", worker_id="w2", offered=True)
        unsure = await claim(delivery=2, certain=False)
        assert isinstance(unsure, Refusal)
        assert unsure.verdict == "unsure"
        await session.append(first, 1, "goes on")
        assert await verdict(session, delivery=2) == "ended"

    async def test_a_strike_for_an_attempt_that_lived_is_taken_back_once(self, open_session: OpenSession) -> None:
        session = open_session(max_attempts=2)
        lived = await session.started()
        second = await session.claim(delivery=2)
        assert second.last
        for _ in range(2):
            await session.log_writer.forgive(lived)
        assert await session.redis.hget(session.keys.jobs, "j1:strikes") == b"0"
        await session.log_writer.forgive(second)
        third = await session.claim(delivery=3)
        assert await session.redis.hget(session.keys.jobs, "j1:strikes") == b"1"
        await session.log_writer.forgive(lived)
        assert third.last
        assert await verdict(session, delivery=4) == "ended"

    async def test_a_release_is_no_strike(self, open_session: OpenSession) -> None:
        session = open_session(max_attempts=1)
        await session.submit()
        for delivery in range(1, 5):
            attempt = await session.claim(delivery=delivery)
            await session.log_writer.release("s", attempt.epoch)
        assert (await session.sessions.job("s", "j1")).status == "queued"

    async def test_a_released_attempt_writes_nothing_any_more(self, session: Session) -> None:
        attempt = await session.started()
        await session.log_writer.release("s", attempt.epoch)
        with pytest.raises(Fenced):
            await session.append(attempt, 1, "late")

    async def test_a_job_that_waited_too_long_ends_as_expired(self, open_session: OpenSession) -> None:
        session = open_session(queue_seconds=1)
        await session.submit()
        await session.redis.hset(session.keys.jobs, "j1:created_at", 1)
        assert await verdict(session, offered=False) == "ended"
        assert (await session.sessions.job("s", "j1")).ending["error"]["code"] == "expired"

    async def test_at_maxmemory_no_agent_that_is_offered_counts_as_gone(self, open_session: OpenSession) -> None:
        """A later attempt that found no room to start was taken for one whose agent nobody offers any more."""
        session = open_session(queue_seconds=1)
        attempt = await session.started()
        await session.log_writer.release("s", attempt.epoch)
        await session.redis.hset(session.keys.jobs, "j1:created_at", 1)
        await session.redis.config_set("maxmemory", 1)
        try:
            assert await session.try_claim(delivery=2) == Refusal("unoffered")
        finally:
            await session.redis.config_set("maxmemory", 0)
        assert isinstance(await session.try_claim(delivery=2), Attempt)

    async def test_a_log_that_vanished_ends_its_job_though_a_person_is_asked(self, session: Session) -> None:
        """It was parked, and its worker, which took it for ended, dropped its token."""
        attempt = await session.started()
        await session.log_writer.ask("s", attempt.epoch, 1, Event("question.asked", "j1", b"{}"), "q1")
        await session.redis.delete(session.keys.log)
        assert (await session.log_writer.end_lost(attempt)).verdict == "ended"
        assert (await session.sessions.job("s", "j1")).ending["error"]["code"] == "log_lost"

    async def test_a_worker_that_does_not_offer_the_agent_cannot_start_the_job(self, session: Session) -> None:
        await session.submit()
        assert await verdict(session, offered=False) == "unoffered"
        assert await session.redis.xlen(session.keys.log) == 0


class TestAppend:
    async def test_a_zombies_append_after_another_claim_is_refused(self, session: Session) -> None:
        zombie = await session.started()
        await session.append(zombie, 1, "before")
        await session.claim(delivery=2)
        with pytest.raises(Fenced):
            await session.append(zombie, 2, "after")
        assert await session.texts() == ["before"]

    async def test_a_zombies_append_is_refused_by_its_epoch_alone(self, session: Session) -> None:
        zombie = await session.started()
        successor = await session.claim(delivery=2)
        await session.redis.xdel(session.keys.log, f"{successor.epoch}-1")
        with pytest.raises(Fenced):
            await session.append(zombie, 1, "after")

    async def test_a_zombies_end_is_refused_by_its_epoch_alone(self, session: Session) -> None:
        zombie = await session.started()
        successor = await session.claim(delivery=2)
        await session.redis.xdel(session.keys.log, f"{successor.epoch}-1")
        with pytest.raises(Fenced):
            await session.finish(zombie, 1)

    async def test_a_zombies_end_after_another_claim_is_refused(self, session: Session) -> None:
        zombie = await session.started()
        await session.claim(delivery=2)
        with pytest.raises(Fenced):
            await session.finish(zombie, 1)
        assert (await session.sessions.job("s", "j1")).status == "running"

    async def test_an_append_retried_after_a_lost_reply_is_written_once(self, session: Session) -> None:
        attempt = await session.started()
        answers = [await session.append(attempt, 1, "a", "b", "c") for _ in range(3)]
        assert [answer.seq for answer in answers] == [4, 4, 4]
        assert await session.texts() == ["a", "b", "c"]

    async def test_an_append_that_was_written_in_part_is_completed(self, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b")
        assert (await session.append(attempt, 1, "a", "b", "c")).seq == 4
        assert await session.texts() == ["a", "b", "c"]

    async def test_ids_are_the_epochs_also_when_the_clock_has_gone_past_it(self, session: Session) -> None:
        attempt = await session.started()

        async def past() -> bool:
            seconds, micros = await session.redis.time()
            return bool(1000 * seconds + micros // 1000 > attempt.epoch)

        await until(past)
        await session.append(attempt, 1, "a", "b", "c")
        ids = [raw.decode() for raw, _ in await session.redis.xrange(session.keys.log)]
        assert ids == [f"{attempt.epoch}-{seq}" for seq in range(1, 5)]

    async def test_an_append_beyond_the_end_of_the_log_leaves_no_hole(self, session: Session) -> None:
        attempt = await session.started()
        with pytest.raises(LogBehind) as raised:
            await session.append(attempt, 5, "later")
        assert raised.value.top == EventId(attempt.epoch, 1)
        assert await session.texts() == []

    async def test_an_append_never_makes_a_log_that_vanished_anew(self, session: Session) -> None:
        attempt = await session.started()
        await session.redis.delete(session.keys.log)
        with pytest.raises(LogGone):
            await session.append(attempt, 1, "lost")
        with pytest.raises(LogGone):
            await session.finish(attempt, 1)
        assert not await session.redis.exists(session.keys.log)

    async def test_a_write_after_the_session_vanished_brings_no_key_back(self, session: Session) -> None:
        attempt = await session.started()
        await session.redis.flushall()
        with pytest.raises(LogGone):
            await session.append(attempt, 1, "lost")
        with pytest.raises(LogGone):
            await session.finish(attempt, 1)
        with pytest.raises(Fenced):
            await session.log_writer.release("s", attempt.epoch)
        assert await session.redis.keys("*") == []

    async def test_an_append_tells_its_lease_owner_of_a_cancel(self, session: Session) -> None:
        attempt = await session.started()
        await session.submit("j2")
        assert not (await session.append(attempt, 1, "a")).attention
        await session.sessions.cancel("s", "j2", by="user")
        assert (await session.append(attempt, 2, "b")).attention
        assert (await session.log_writer.intents("s", attempt.epoch)).cancel == {"j2": "user"}

    async def test_at_maxmemory_an_append_is_refused_whole_and_the_end_still_fits(self, session: Session) -> None:
        attempt = await session.started()
        await session.redis.config_set("maxmemory", 1)
        try:
            with pytest.raises(LogFull):
                await session.append(attempt, 1, "too much")
            assert (await session.finish(attempt, 1)).seq == 2
        finally:
            await session.redis.config_set("maxmemory", 0)
        assert (await session.sessions.job("s", "j1")).status == "completed"

    async def test_at_maxmemory_nothing_starts_and_what_is_to_end_ends(self, session: Session) -> None:
        await session.submit("j1")
        await session.submit("j2")
        await session.redis.config_set("maxmemory", 1)
        try:
            assert await verdict(session, "j1") == "unoffered"
            await session.sessions.cancel("s", "j1")
            assert await verdict(session, "j1") == "ended"
        finally:
            await session.redis.config_set("maxmemory", 0)
        assert (await session.sessions.session("s")).backlog == ["j2"]


class TestEnd:
    async def test_an_end_retried_after_a_lost_reply_is_written_once(self, session: Session) -> None:
        attempt = await session.started()
        ends = [await session.finish(attempt, 1) for _ in range(3)]
        assert [end.seq for end in ends] == [2, 2, 2]
        assert await session.redis.xlen(session.keys.log) == 2

    async def test_a_second_end_of_another_kind_is_refused(self, session: Session) -> None:
        attempt = await session.started()
        await session.finish(attempt, 1)
        assert (await session.finish(attempt, 2)).seq is None
        assert await session.redis.xlen(session.keys.log) == 2

    async def test_an_end_comes_behind_what_was_written_and_never_acknowledged(self, session: Session) -> None:
        """A reply was lost and the repetition refused at maxmemory: the writer gave up what the log had. The id behind
        what it knew of was taken, so that the end was refused for ever."""
        attempt = await session.started()
        await session.append(attempt, 1, "a", "b")
        assert (await session.finish(attempt, 1)).seq == 4
        assert (await session.finish(attempt, 1)).head is None
        assert await session.redis.xlen(session.keys.log) == 4

    async def test_nothing_is_written_behind_the_end(self, session: Session) -> None:
        """An agent's thread goes on after the end of its job, in the session's epoch still: what it had waiting stood
        behind the terminal event, and what it recorded brought a key back that nothing took away."""
        attempt = await session.started()
        await session.finish(attempt, 1)
        question = Event("question.asked", "j1", b"{}")
        for late in (
            session.append(attempt, 2, "late"),
            session.log_writer.ask("s", attempt.epoch, 2, question, "q1"),
            session.record(attempt),
        ):
            with pytest.raises(Fenced):
                await late
        assert await session.redis.xlen(session.keys.log) == 2
        assert not await session.redis.exists(session.keys.journal)
        assert (await session.sessions.job("s", "j1")).status == "completed"

    async def rewind(self, session: Session, attempt: Attempt, after: int, discard_from: EventId) -> int:
        body = orjson.dumps({"type": "job.started", "job_id": "j1", "discard_from": str(discard_from)})
        event = Event("job.started", "j1", body)
        return await session.log_writer.rewind("s", attempt.epoch, after, event, discard_from)

    async def test_a_further_start_that_is_retried_after_a_lost_reply_is_written_once(self, session: Session) -> None:
        first = await session.started()
        await session.append(first, 1, "kept", "discarded")
        attempt = await session.claim(delivery=2)
        boundary = EventId(first.epoch, 3)
        assert [await self.rewind(session, attempt, 1, boundary) for _ in range(3)] == [2, 2, 2]
        assert await session.redis.xlen(session.keys.log) == 5
        assert (boundary, EventId(attempt.epoch, 2)) in [
            (discard.first, discard.started) for discard in await session.log.discards("s", "j1")
        ]

    async def test_a_takeover_discards_no_less_than_a_further_start_before_it(self, session: Session) -> None:
        first = await session.started()
        await session.append(first, 1, "kept", "discarded")
        await session.record(first, resume=4)
        attempt = await session.claim(delivery=2)
        assert attempt.discard_from == EventId(first.epoch, 4)
        await self.rewind(session, attempt, 1, EventId(first.epoch, 3))
        assert (await session.claim(delivery=3)).discard_from == EventId(first.epoch, 3)

    async def test_a_zombies_further_start_is_refused_by_its_epoch_alone(self, session: Session) -> None:
        zombie = await session.started()
        successor = await session.claim(delivery=2)
        await session.redis.xdel(session.keys.log, f"{successor.epoch}-1")
        with pytest.raises(Fenced):
            await self.rewind(session, zombie, 1, EventId(zombie.epoch, 1))

    async def test_no_further_start_is_written_behind_the_end(self, session: Session) -> None:
        attempt = await session.started()
        await session.finish(attempt, 1)
        with pytest.raises(Fenced):
            await self.rewind(session, attempt, 2, EventId(attempt.epoch, 1))
        assert await session.redis.xlen(session.keys.log) == 2

    async def test_an_end_names_the_next_of_the_line(self, session: Session) -> None:
        attempt = await session.started("j1")
        await session.submit("j2", agent="demo")
        assert (await session.finish(attempt, 1)).head == ("j2", "demo")

    async def test_the_last_end_gives_all_keys_one_expiry_and_the_next_job_takes_it_away(
        self, session: Session
    ) -> None:
        attempt = await session.started("j1")
        keys = [key for key in session.keys if await session.redis.exists(key)]
        assert {await session.redis.ttl(key) for key in keys} == {-1}
        await session.finish(attempt, 1)
        left = [key for key in session.keys if await session.redis.exists(key)]
        assert {await session.redis.ttl(key) for key in left} == {86_400}
        await session.submit("j2")
        assert {await session.redis.ttl(key) for key in left} == {-1}

    async def test_the_end_of_a_job_whose_log_vanished_says_so(self, session: Session) -> None:
        attempt = await session.started()
        await session.redis.delete(session.keys.log)
        assert await session.log_writer.end_lost(attempt) == Refusal("ended")
        last = await session.log.last("s")
        assert last is not None
        event = orjson.loads(last.body)
        assert (event["type"], event["error"]["code"], event["log_lost"]) == ("job.failed", "log_lost", True)

    async def test_the_lease_owner_ends_a_waiting_job_in_its_own_epoch_and_goes_on(self, session: Session) -> None:
        attempt = await session.started("j1")
        await session.submit("j2")
        await session.sessions.cancel("s", "j2")
        assert (await session.finish(attempt, 1, "j2")).head == ("j1", "scripted")
        assert (await session.append(attempt, 2, "on")).seq == 3


class TestSettle:
    async def test_a_cancelled_job_that_nobody_holds_ends_without_a_start(self, session: Session) -> None:
        await session.submit("j1")
        await session.submit("j2")
        await session.sessions.cancel("s", "j2", by="me")
        settled = await session.log_writer.settle("s")
        assert settled.head == ("j1", "scripted")
        state = await session.sessions.job("s", "j2")
        assert (state.status, state.ending["by"]) == ("cancelled", "me")

    async def test_settling_leaves_a_session_that_is_held_alone(self, session: Session) -> None:
        attempt = await session.started("j1")
        await session.submit("j2")
        await session.sessions.cancel("s", "j2")
        assert (await session.log_writer.settle("s")).held
        assert (await session.append(attempt, 1, "on")).seq == 2

    async def test_a_cancelled_attempt_that_does_not_end_is_claimed_over_after_its_patience(
        self, session: Session
    ) -> None:
        attempt = await session.started("j1")
        await session.sessions.cancel("s", "j1")
        assert (await session.log_writer.settle("s")).held
        await session.redis.hset(session.keys.jobs, "j1:cancel_at", 1)
        assert not (await session.log_writer.settle("s")).held
        assert (await session.sessions.job("s", "j1")).status == "cancelled"
        with pytest.raises(Fenced):
            await session.append(attempt, 1, "late")

    async def test_a_deletion_ends_what_is_open_keeps_no_text_and_leaves_no_key_without_expiry(
        self, session: Session
    ) -> None:
        attempt = await session.started("j1")
        await session.append(attempt, 1, "secret")
        await session.sessions.delete("s")
        with pytest.raises(SessionUnknown):
            await session.sessions.session("s")
        await session.log_writer.settle("s")
        page = await session.log.read("s", EventId(attempt.epoch, 2))
        assert page.gap is None
        assert [entry.kind for entry in page.entries] == ["job.cancelled", "session.deleted"]
        assert await session.redis.keys("*") == [session.keys.log.encode()]
        assert await session.redis.xlen(session.keys.log) == 2
        assert 0 < await session.redis.ttl(session.keys.log) <= 60
        with pytest.raises(LogGone):
            await session.append(attempt, 2, "zombie")

    async def test_a_deletion_of_which_no_worker_hears_goes_with_the_session(self, session: Session) -> None:
        """Its intent took the expiry from a session that had come to rest: nobody's token would ever bring a worker."""
        await session.finish(await session.started(), 1)
        await session.sessions.delete("s")
        assert {await session.redis.ttl(key) for key in session.keys if await session.redis.exists(key)} == {86_400}

    async def test_a_session_that_is_used_again_after_its_deletion_goes_on_with_later_ids(
        self, session: Session
    ) -> None:
        await session.submit("j1")
        await session.sessions.delete("s")
        await session.log_writer.settle("s")
        deleted = await session.log.last("s")
        assert deleted is not None
        again = await session.started("j2")
        page = await session.log.read("s", deleted.id)
        assert page.gap is None
        assert [entry.id for entry in page.entries] == [EventId(again.epoch, 1)]


class TestSubmit:
    async def test_the_same_key_returns_the_first_job(self, session: Session) -> None:
        first = await session.submit("j1", idempotency_key="k")
        again = await session.submit("j2", idempotency_key="k")
        assert (again.job_id, again.replayed, first.replayed) == ("j1", True, False)
        with pytest.raises(JobUnknown):
            await session.sessions.job("s", "j2")

    async def test_the_same_key_with_another_body_is_refused(self, session: Session) -> None:
        await session.submit("j1", idempotency_key="k")
        with pytest.raises(IdempotencyMismatch):
            await session.submit("j2", idempotency_key="k", digest="other")

    async def test_fifty_concurrent_submits_with_one_key_make_one_job(self, session: Session) -> None:
        done = await asyncio.gather(*(session.submit(f"j{n}", idempotency_key="k") for n in range(50)))
        assert len({each.job_id for each in done}) == 1
        assert [each.replayed for each in done].count(False) == 1
        assert len((await session.sessions.session("s")).jobs) == 1

    async def test_a_submit_repeated_with_its_job_id_is_accepted_once(self, session: Session) -> None:
        await session.submit("j1")
        await session.submit("j1")
        assert (await session.sessions.session("s")).backlog == ["j1"]

    async def test_reject_refuses_a_busy_session(self, session: Session) -> None:
        await session.submit("j1")
        with pytest.raises(SessionBusy):
            await session.submit("j2", on_busy="reject")

    async def test_interrupt_cancels_the_running_job_and_goes_before_those_that_wait(self, session: Session) -> None:
        attempt = await session.started("j1")
        await session.submit("j2")
        done = await session.submit("j3", on_busy="interrupt")
        assert (done.position, done.notify) == (1, "w1")
        assert (await session.sessions.session("s")).backlog == ["j1", "j3", "j2"]
        assert (await session.log_writer.intents("s", attempt.epoch)).cancel == {"j1": "interrupt"}

    async def test_an_interrupting_job_supersedes_the_one_that_has_not_started_and_takes_its_place(
        self, session: Session
    ) -> None:
        attempt = await session.started("j1")
        await session.submit("j2")
        for job in ("i1", "i2", "i3"):
            assert (await session.submit(job, on_busy="interrupt")).position == 1
        assert (await session.sessions.session("s")).backlog == ["j1", "i3", "i2", "i1", "j2"]
        intents = await session.log_writer.intents("s", attempt.epoch)
        assert intents.cancel == {"j1": "interrupt", "i2": "superseded", "i1": "superseded"}

    async def test_an_interrupting_job_at_the_head_is_superseded_until_it_starts(self, session: Session) -> None:
        await session.submit("i1", on_busy="interrupt")
        await session.submit("i2", on_busy="interrupt")
        await session.log_writer.settle("s")
        assert (await session.sessions.job("s", "i1")).ending["by"] == "superseded"
        await session.claim("i2")
        await session.submit("i3", on_busy="interrupt")
        await session.try_claim("i2", delivery=2)
        assert (await session.sessions.job("s", "i2")).ending["by"] == "interrupt"

    async def test_ten_interrupting_jobs_in_a_row_overtake_a_waiting_job_and_the_next_goes_behind_it(
        self, session: Session
    ) -> None:
        await session.started("j1")
        await session.submit("j2")
        for number in range(1, 11):
            assert (await session.submit(f"i{number}", on_busy="interrupt")).position == 1
            await session.try_claim("j1" if number == 1 else f"i{number - 1}", delivery=2)
            await session.claim(f"i{number}")
        await session.submit("i11", on_busy="interrupt")
        await session.submit("i12", on_busy="interrupt")
        assert (await session.sessions.session("s")).backlog == ["i10", "j2", "i12", "i11"]

    async def test_a_line_has_an_end(self, open_session: OpenSession) -> None:
        session = open_session(session_backlog_limit=2)
        await session.submit("j1")
        await session.submit("j2")
        with pytest.raises(QueueFull):
            await session.submit("j3")

    async def test_cancelling_twice_writes_one_intent(self, session: Session) -> None:
        await session.submit("j1")
        assert await session.sessions.cancel("s", "j1") == await session.sessions.cancel("s", "j1", by="other")
        await session.log_writer.settle("s")
        assert (await session.sessions.job("s", "j1")).ending["by"] == "user"
        assert (await session.sessions.cancel("s", "j1")).status == "cancelled"

    @pytest.mark.parametrize("how", ["deleted", "cancelled"])
    async def test_a_long_backlog_is_ended_in_pieces_after_its_entries_were_retired(
        self, open_session: OpenSession, how: str
    ) -> None:
        session = open_session(session_backlog_limit=1000)
        jobs = [f"j{number}" for number in range(250)]
        for job_id in jobs:
            await session.submit(job_id)
        pieces: list[int] = []
        retired: list[str] = []

        async def retire(job_ids: Sequence[str]) -> None:
            found = await session.redis.hmget(session.keys.jobs, [f"{job_id}:end" for job_id in job_ids])
            assert found == [None] * len(job_ids)
            pieces.append(len(job_ids))
            retired.extend(job_ids)

        if how == "deleted":
            await session.sessions.delete("s")
        else:
            for job_id in jobs:
                await session.sessions.cancel("s", job_id)
        settled = await session.log_writer.settle("s", retire)
        assert (settled.ended, retired, pieces) == (jobs, jobs, [100, 100, 50])
        entries = (await session.log.read("s", ORIGIN, 10_000)).entries
        ends = [(entry.job_id, entry.kind) for entry in entries]
        assert ends[:250] == [(job_id, "job.cancelled") for job_id in jobs]
        assert ends[250:] == ([("", "session.deleted")] if how == "deleted" else [])
        assert chained(ORIGIN, entries) == len(entries)
        if how == "deleted":
            left = [name for name, key in session.keys._asdict().items() if await session.redis.exists(key)]
            assert left == ["log"]
        else:
            assert not await session.redis.hexists(session.keys.state, "attention")

    async def test_the_deletion_of_a_long_backlog_trims_its_content_and_leaves_a_live_viewer_no_gap(
        self, open_session: OpenSession
    ) -> None:
        session = open_session(session_backlog_limit=1000)
        attempt = await session.started("j0")
        await session.append(attempt, 1, "secret")
        cursor = EventId(attempt.epoch, 2)
        for number in range(1, 150):
            await session.submit(f"j{number}")
        await session.sessions.delete("s")
        await session.log_writer.settle("s")
        page = await session.log.read("s", cursor, 10_000)
        assert page.gap is None
        assert len(page.entries) == 151
        assert await session.redis.xlen(session.keys.log) == 151


class TestRead:
    async def test_a_cursor_before_a_trim_gives_gap_trimmed_with_the_first_that_is_kept(self, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *"abcdefgh")
        await session.redis.xtrim(session.keys.log, maxlen=3, approximate=False)
        page = await session.log.read("s", EventId(attempt.epoch, 2))
        assert page.gap == Gap("trimmed", EventId(attempt.epoch, 7))
        assert [entry.id.seq for entry in page.entries] == [7, 8, 9]

    async def test_a_cursor_whose_direct_follower_is_the_first_kept_entry_has_lost_nothing(
        self, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *"abcdefgh")
        await session.redis.xtrim(session.keys.log, maxlen=3, approximate=False)
        page = await session.log.read("s", EventId(attempt.epoch, 6))
        assert page.gap is None
        assert [entry.id.seq for entry in page.entries] == [7, 8, 9]

    async def test_a_vanished_log_gives_gap_expired(self, session: Session) -> None:
        attempt = await session.started()
        await session.redis.delete(session.keys.log)
        for cursor in (ORIGIN, EventId(attempt.epoch, 1)):
            assert (await session.log.read("s", cursor)).gap == Gap("expired", ORIGIN)

    async def test_a_cursor_beyond_the_top_gives_gap_lost_with_the_top(self, session: Session) -> None:
        attempt = await session.started()
        page = await session.log.read("s", EventId(attempt.epoch, 9))
        assert page.gap == Gap("lost", EventId(attempt.epoch, 1))
        assert page.entries == []

    async def test_a_cursor_in_a_tail_that_a_failover_lost_gives_gap_lost(self, session: Session) -> None:
        first = await session.started()
        await session.append(first, 1, "kept")
        await session.claim(delivery=2)
        page = await session.log.read("s", EventId(first.epoch, 7))
        assert page.gap == Gap("lost", EventId(first.epoch, 2))

    async def test_a_hole_behind_the_cursor_is_never_passed_over_in_silence(self, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *"abcd")
        await session.redis.xdel(session.keys.log, f"{attempt.epoch}-3")
        page = await session.log.read("s", ORIGIN)
        assert [entry.id.seq for entry in page.entries] == [1, 2]
        assert page.more
        page = await session.log.read("s", EventId(attempt.epoch, 2))
        assert page.gap == Gap("trimmed", EventId(attempt.epoch, 4))
        assert [entry.id.seq for entry in page.entries] == [4, 5]

    async def test_another_hole_right_behind_one_does_not_keep_the_first_from_being_told(
        self, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *"abcdefghi")
        await session.redis.xdel(session.keys.log, *(f"{attempt.epoch}-{seq}" for seq in (3, 4, 6)))
        page = await session.log.read("s", EventId(attempt.epoch, 2))
        assert page.gap == Gap("trimmed", EventId(attempt.epoch, 5))
        assert [entry.id.seq for entry in page.entries] == [5]
        assert page.more

    async def test_a_session_without_events_has_no_gap(self, session: Session) -> None:
        await session.submit()
        assert (await session.log.read("s", ORIGIN)).gap is None

    async def test_pages_join_without_loss(self, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *map(str, range(50)))
        cursor, seen = ORIGIN, []
        while True:
            page = await session.log.read("s", cursor, 7)
            seen += [entry.id.seq for entry in page.entries]
            if not page.more:
                break
            cursor = page.entries[-1].id
        assert seen == list(range(1, 52))

    async def test_the_conversation_is_true_at_its_cursor_while_a_job_runs(self, session: Session) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, "Hel", "lo")
        assert (await session.sessions.messages("s")).cursor == EventId(attempt.epoch, 3)
        assert [(message["role"], message["content"]) for message in await said(session.sessions)] == [
            ("user", "hello"),
            ("assistant", "Hello"),
        ]

    async def test_retention_trims_by_count_and_never_below_a_thousand(self, open_session: OpenSession) -> None:
        session = open_session(retention_events=1000)
        attempt = await session.started()
        after = 1
        for _ in range(30):
            batch = [delta("j1", "x")] * 100
            after = (await session.log_writer.append("s", attempt.epoch, after, batch)).seq
        assert 1000 <= await session.redis.xlen(session.keys.log) < 1300

    async def test_a_log_whose_first_entry_comes_while_it_is_read_has_no_gap(self, session: Session) -> None:
        """A reader at 0-0 saw an empty log, then the record of a claim that had come meanwhile: it said `expired`."""
        await session.submit()
        newest = session.log._newest_upto

        async def claimed_meanwhile(session_id: str, cursor: EventId) -> EventId:
            seen = await newest(session_id, cursor)
            await session.claim()
            return seen

        session.log._newest_upto = claimed_meanwhile  # type: ignore[method-assign]
        page = await session.log.read("s", ORIGIN)
        assert (page.gap, page.more) == (None, True)
