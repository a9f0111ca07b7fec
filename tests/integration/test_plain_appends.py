"""Appends without the script: what keeps others out is the id alone, and everybody else looks at the log's own end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import urlsplit

import orjson
import pytest
import redis
from holdfast.shared.errors import Fenced, LogGone
from holdfast.shared.ids import EventId
from holdfast.shared.log.log_replies import AppendOutcome, AppendPermit, Attempt, Event, Refusal

from tests.support.log import Session, delta, said
from tests.support.process import until
from tests.support.redis_server import RedisServer

Governed = tuple[Session, redis.Redis]


@pytest.fixture
async def governed(redis_server: Callable[..., RedisServer]) -> AsyncIterator[Governed]:
    """A session on a server of its own, and who may set that up anew."""
    server = redis_server(maxmemory=3_000_000)
    session = Session(server.url)
    with redis.Redis.from_url(server.url) as admin:
        yield session, admin
    await session.aclose()


async def permitted(session: Session) -> tuple[Attempt, AppendPermit]:
    """A running attempt whose script append took `a`, as seq 2."""
    attempt = await session.started()
    permit = (await session.append(attempt, 1, "a")).permit
    assert permit is not None
    return attempt, permit


async def sent(session: Session, attempt: Attempt, permit: AppendPermit, seq: int, *texts: str) -> AppendOutcome:
    events = [delta(attempt.job_id, text) for text in texts]
    return await session.append_plain(permit, EventId(attempt.epoch, seq), *events)


async def plain(session: Session, attempt: Attempt, permit: AppendPermit, seq: int, *texts: str) -> bool:
    """Whether it is in the log for sure."""
    return await sent(session, attempt, permit, seq, *(texts or ["plain"])) is AppendOutcome.ADDED


async def newest(session: Session) -> EventId:
    entry = await session.log.last("s")
    assert entry is not None
    return entry.id


async def asked(session: Session, attempt: Attempt, after: int) -> int:
    body = orjson.dumps({"type": "question.asked", "job_id": attempt.job_id, "question_id": "q1", "schema": {}})
    event = Event("question.asked", attempt.job_id, body)
    return await session.log_writer.ask("s", attempt.epoch, after, event, "q1")


class TestFence:
    async def test_after_another_claim_nothing_gets_in(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.claim(delivery=2)
        assert not await plain(session, attempt, permit, 3)
        assert await session.texts() == ["a"]

    async def test_after_a_release_nothing_gets_in(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.log_writer.release("s", attempt.epoch)
        assert not await plain(session, attempt, permit, 3)
        assert await session.texts() == ["a"]

    async def test_after_its_job_was_parked_nothing_gets_in(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await asked(session, attempt, 2)
        assert await session.try_claim(delivery=2) == Refusal("parked", delivery=2)
        assert not await plain(session, attempt, permit, 4)
        assert await session.texts() == ["a"]

    async def test_after_a_cancel_that_others_carried_out_nothing_gets_in(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.log_writer.release("s", attempt.epoch)
        await session.sessions.cancel("s", "j1")
        await session.log_writer.settle("s")
        assert not await plain(session, attempt, permit, 3)

    async def test_nothing_comes_in_place_of_the_end(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.finish(attempt, 2)
        assert not await plain(session, attempt, permit, 3)

    async def test_a_deleted_session_takes_nothing(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.sessions.delete("s")
        await session.log_writer.settle("s")
        assert not await plain(session, attempt, permit, 3)
        await session.redis.delete(session.keys.log)
        assert not await plain(session, attempt, permit, 3)
        assert not await session.redis.exists(session.keys.log)

    async def test_a_session_that_was_deleted_and_made_anew_takes_nothing(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.sessions.delete("s")
        await session.log_writer.settle("s")
        await session.started("j2")
        assert not await plain(session, attempt, permit, 3)

    async def test_a_log_that_vanished_is_not_made_anew(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.redis.delete(session.keys.log)
        assert not await plain(session, attempt, permit, 3)
        assert not await session.redis.exists(session.keys.log)

    async def test_where_a_forgotten_attempt_got_in_the_lease_owner_leaves(self, session: Session) -> None:
        """A server that forgot everything may hand out an earlier epoch within the same second."""
        attempt, _ = await permitted(session)
        await session.redis.xadd(session.keys.log, {"j1 status": "{}"}, f"{attempt.epoch + 500}-7")
        with pytest.raises(Fenced):
            await session.append(attempt, 2, "b")
        with pytest.raises(Fenced):
            await session.finish(attempt, 2)
        again = await session.claim(delivery=2)
        assert again.epoch > attempt.epoch + 500


class TestBatch:
    async def test_it_is_taken_as_a_whole(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3, "b", "c", "d")
        assert await session.texts() == ["a", "b", "c", "d"]

    async def test_one_that_is_cut_anywhere_leaves_nothing(self, session: Session, redis_url: str) -> None:
        attempt, permit = await permitted(session)
        events = [delta(attempt.job_id, text) for text in ("b", "c", "d")]
        session.log_writer.append_plain(permit, "s", EventId(attempt.epoch, 3), events, lambda _: None)
        commands = [packed for _, packed in permit.connection._gathered]
        permit.connection.abort()
        address = urlsplit(redis_url)
        for count in range(len(commands)):
            reader, writer = await asyncio.open_connection(address.hostname, address.port)
            writer.write(b"".join(commands[:count]) + b"*1\r\n$4\r\nPING\r\n")
            await reader.read(1)
            writer.close()
            await writer.wait_closed()
            assert await session.texts() == ["a"]

    async def test_one_for_which_there_is_no_room_leaves_nothing_for_sure(self, governed: Governed) -> None:
        session, admin = governed
        attempt, permit = await permitted(session)
        admin.config_set("maxmemory", 1)
        for texts in (["b"], ["b", "c"]):
            assert await sent(session, attempt, permit, 3, *texts) is AppendOutcome.REFUSED
        admin.config_set("maxmemory", 0)
        assert await session.texts() == ["a"]

    async def test_after_another_claim_nothing_of_it_gets_in(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.claim(delivery=2)
        assert await sent(session, attempt, permit, 3, "b", "c") is AppendOutcome.UNKNOWN
        assert await session.texts() == ["a"]

    async def test_a_log_that_vanished_is_not_made_anew(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.redis.delete(session.keys.log)
        assert await sent(session, attempt, permit, 3, "b", "c") is AppendOutcome.UNKNOWN
        assert not await session.redis.exists(session.keys.log)

    async def test_the_script_knows_what_is_there_already(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3, "b", "c")
        assert (await session.append(attempt, 2, "b", "c", "d")).seq == 5
        assert await session.texts() == ["a", "b", "c", "d"]

    async def test_it_trims(self, open_session: Callable[..., Session]) -> None:
        session = open_session(retention_events=1000)
        attempt, permit = await permitted(session)
        for first in range(3, 2500, 100):
            assert await plain(session, attempt, permit, first, *["x"] * 100)
        assert await session.redis.xlen(session.keys.log) < 1200


class TestPermitRenewal:
    async def test_it_renews_the_permit_of_a_log_that_ends_with_the_newest_event(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3)
        seen = await session.renew_permit(permit, EventId(attempt.epoch, 3))
        assert seen is not None
        assert seen.permit is not None
        assert seen.permit.at > permit.at
        assert seen.permit.checked_at == permit.checked_at
        assert not seen.attention

    async def test_it_tells_that_somebody_wants_something(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.sessions.cancel("s", "j1")
        seen = await session.renew_permit(permit, EventId(attempt.epoch, 2))
        assert seen is not None
        assert seen.attention

    async def test_it_finds_that_the_log_lost_its_tail(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3)
        await session.redis.xdel(session.keys.log, f"{attempt.epoch}-3")
        assert await session.renew_permit(permit, EventId(attempt.epoch, 3)) is None

    async def test_it_finds_that_the_session_was_given_back(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.log_writer.release("s", attempt.epoch)
        assert await session.renew_permit(permit, EventId(attempt.epoch, 2)) is None

    async def test_it_finds_that_another_attempt_began(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.redis.hset(session.keys.state, "epoch", attempt.epoch + 1)
        assert await session.renew_permit(permit, EventId(attempt.epoch, 2)) is None

    async def test_it_finds_that_the_job_has_ended(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.redis.hdel(session.keys.state, "job")
        assert await session.renew_permit(permit, EventId(attempt.epoch, 2)) is None

    async def test_it_finds_that_all_is_gone(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.redis.flushall()
        assert await session.renew_permit(permit, EventId(attempt.epoch, 2)) is None

    async def test_a_connection_that_is_lost_renews_nothing(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        permit.connection.abort()
        assert await session.renew_permit(permit, EventId(attempt.epoch, 2)) is None


class TestEverybodyElse:
    async def test_states_and_conversation_are_true_at_the_newest_event(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3, "b")
        top = EventId(attempt.epoch, 3)
        assert (await session.sessions.session("s")).cursor == top
        assert (await session.sessions.job("s", "j1")).cursor == top
        assert (await session.submit("j2")).cursor == top
        assert (await session.sessions.messages("s")).cursor == top
        assert (await said(session.sessions))[-1]["content"] == "ab"

    async def test_the_next_claim_follows_the_newest_event(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3)
        await session.claim(delivery=2)
        entry = await session.log.last("s")
        assert entry is not None
        assert entry.prev == EventId(attempt.epoch, 3)

    async def test_the_next_job_begins_behind_the_newest_event(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        await session.submit("j2")
        assert await plain(session, attempt, permit, 3)
        await session.finish(attempt, 3)
        await session.claim("j2")
        assert (await session.sessions.job("s", "j2")).before == EventId(attempt.epoch, 4)

    async def test_an_end_that_others_write_follows_the_newest_event(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3)
        await session.log_writer.release("s", attempt.epoch)
        await session.sessions.cancel("s", "j1")
        await session.log_writer.settle("s")
        entry = await session.log.last("s")
        assert entry is not None
        assert entry.prev == EventId(attempt.epoch, 3)

    async def test_the_end_comes_behind_the_newest_event(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3)
        assert (await session.finish(attempt, 3)).seq == 4

    async def test_the_end_comes_behind_an_event_whose_reply_was_lost(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3)
        assert (await session.finish(attempt, 2)).seq == 4

    async def test_a_question_comes_behind_the_newest_event(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3)
        assert await asked(session, attempt, 3) == 4

    async def test_the_script_knows_an_event_that_is_there_already(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3, "b")
        assert (await session.append(attempt, 2, "b")).seq == 3
        assert await session.texts() == ["a", "b"]

    @pytest.mark.parametrize("write", ["append", "finish", "ask"])
    async def test_a_vanished_log_is_reborn_behind_what_its_writer_knows_of_it(
        self, session: Session, write: str
    ) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3, "b", "c")
        await session.redis.delete(session.keys.log)
        writes: dict[str, Callable[[], Awaitable[object]]] = {
            "append": lambda: session.append(attempt, 4, "d"),
            "finish": lambda: session.finish(attempt, 4),
            "ask": lambda: asked(session, attempt, 4),
        }
        with pytest.raises(LogGone):
            await writes[write]()
        await session.log_writer.end_lost(attempt)
        entry = await session.log.last("s")
        assert entry is not None
        assert entry.prev == EventId(attempt.epoch, 4)

    async def test_a_vanished_log_is_reborn_behind_what_is_known_of_it(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        assert await plain(session, attempt, permit, 3)
        await session.redis.delete(session.keys.log)
        await session.claim(delivery=2)
        entry = await session.log.last("s")
        assert entry is not None
        assert orjson.loads(entry.body)["log_lost"]


class TestPermit:
    async def test_it_is_valid_for_a_second(self, session: Session) -> None:
        _, permit = await permitted(session)
        assert permit.is_valid(permit.at + 1)
        assert not permit.is_valid(permit.at + 1.01)

    async def test_it_is_renewed_when_it_is_old_and_for_a_while_only(self, session: Session) -> None:
        _, permit = await permitted(session)
        assert not permit.needs_renewal(permit.at + 0.5)
        assert permit.needs_renewal(permit.at + 0.9)
        assert permit._replace(at=permit.at + 4).needs_renewal(permit.at + 4.9)
        assert not permit._replace(at=permit.at + 4.5).needs_renewal(permit.at + 5.4)

    async def test_it_ends_with_its_connection(self, session: Session) -> None:
        _, permit = await permitted(session)
        await session.redis.client_kill_filter(skipme=True, _type="normal")
        await until(lambda: not permit.is_valid(permit.at))

    async def test_an_event_is_sent_on_the_connection_of_the_permit_or_not_at_all(self, session: Session) -> None:
        attempt, permit = await permitted(session)
        permit.connection.abort()
        await session.pipeline.call("PING")
        assert not await plain(session, attempt, permit, 3)
        assert await session.texts() == ["a"]

    async def test_a_server_without_room_or_that_is_none_any_more_says_no(self, governed: Governed) -> None:
        session, admin = governed
        attempt, permit = await permitted(session)
        admin.config_set("maxmemory", 1)
        assert not await plain(session, attempt, permit, 3)
        admin.config_set("maxmemory", 0)
        assert await plain(session, attempt, permit, 3)
        admin.replicaof("127.0.0.1", "1")
        assert not await plain(session, attempt, permit, 4)
        await until(lambda: not permit.connection.alive)


async def test_events_of_many_sessions_go_out_together_and_each_has_its_own_reply(
    open_session: Callable[..., Session],
) -> None:
    session = open_session()
    attempt, permit = await permitted(session)
    answers = [asyncio.create_task(plain(session, attempt, permit, seq)) for seq in (3, 4, 9, 5, 10)]
    assert await asyncio.gather(*answers) == [True, True, True, False, True]
    assert (await newest(session)).seq == 10
