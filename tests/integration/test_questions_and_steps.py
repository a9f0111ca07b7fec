"""What a job records under its fence: questions with their answers, and the outcomes of steps."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from holdfast.shared.errors import Fenced, JobUnknown, LogGone, QuestionAnswered, QuestionUnknown
from holdfast.shared.log.log_replies import Attempt, Event, Refusal

from tests.support.log import Session


async def ask(session: Session, attempt: Attempt, after: int, question: str = "q1", schema: bytes = b"{}") -> int:
    event = Event("question.asked", attempt.job_id, b'{"type":"question.asked","schema":%b}' % schema)
    return await session.log_writer.ask("s", attempt.epoch, after, event, question)


async def test_a_question_lets_its_job_wait_and_is_asked_once_though_the_reply_is_lost(session: Session) -> None:
    attempt = await session.started()
    assert [await ask(session, attempt, 1) for _ in range(3)] == [2, 2, 2]
    assert (await session.sessions.job("s", "j1")).status == "waiting"
    assert await session.redis.xlen(session.keys.log) == 2


async def test_what_a_question_wants_is_known_until_it_is_answered_or_its_job_ends(session: Session) -> None:
    attempt = await session.started()
    assert await session.sessions.question("s", "j1") is None
    await ask(session, attempt, 1, schema=b'{"type":"string","enum":[]}')
    assert await session.sessions.question("s", "j1") == ("q1", b'{"type":"string","enum":[]}')
    await session.sessions.answer("s", "j1", "q1", b'"yes"')
    assert await session.sessions.question("s", "j1") is None
    await ask(session, attempt, 2, "q2", schema=b'{"type":"integer"}')
    assert await session.sessions.question("s", "j1") == ("q2", b'{"type":"integer"}')
    await session.finish(attempt, 3)
    assert await session.sessions.question("s", "j1") is None
    assert not await session.redis.hexists(session.keys.jobs, "j1:schema")


async def test_a_question_without_a_schema_takes_anything(session: Session) -> None:
    attempt = await session.started()
    event = Event("question.asked", "j1", b'{"type":"question.asked"}')
    await session.log_writer.ask("s", attempt.epoch, 1, event, "q1")
    assert await session.sessions.question("s", "j1") == ("q1", b"{}")


async def test_a_question_that_is_asked_again_by_a_later_attempt_keeps_what_it_wants(session: Session) -> None:
    attempt = await session.started()
    await ask(session, attempt, 1, schema=b'{"type":"string"}')
    await session.log_writer.release("s", attempt.epoch)
    assert await session.sessions.question("s", "j1") == ("q1", b'{"type":"string"}')


async def test_an_answer_reaches_the_lease_owner_and_a_second_one_is_refused(session: Session) -> None:
    attempt = await session.started()
    await ask(session, attempt, 1)
    assert (await session.sessions.answer("s", "j1", "q1", b'"yes"')).lease_owner == "w1"
    assert (await session.append(attempt, 2, "on")).attention
    assert (await session.log_writer.recorded("s", "j1")).answers == {"q1": b'"yes"'}
    assert (await session.sessions.job("s", "j1")).status == "running"
    for question in ("q1", None):
        with pytest.raises(QuestionAnswered):
            await session.sessions.answer("s", "j1", question, b'"no"')
    await session.finish(attempt, 3)
    with pytest.raises(QuestionAnswered):
        await session.sessions.answer("s", "j1", "q1", b'"no"')


async def test_a_question_that_was_not_asked_cannot_be_answered(session: Session) -> None:
    attempt = await session.started()
    for question in ("q1", None):
        with pytest.raises(QuestionUnknown):
            await session.sessions.answer("s", "j1", question, b"1")
    await ask(session, attempt, 1)
    with pytest.raises(QuestionUnknown):
        await session.sessions.answer("s", "j1", "q2", b"1")
    with pytest.raises(JobUnknown):
        await session.sessions.answer("s", "j2", "q1", b"1")


async def test_a_job_whose_worker_died_while_it_waited_is_parked_until_the_answer(session: Session) -> None:
    attempt = await session.started()
    await ask(session, attempt, 1)
    assert await session.try_claim(delivery=2) == Refusal("parked", delivery=2)
    with pytest.raises(Fenced):
        await session.append(attempt, 2, "zombie")
    answered = await session.sessions.answer("s", "j1", None, b'"yes"')
    assert (answered.lease_owner, answered.agent) == (None, "scripted")
    second = await session.claim(delivery=3)
    assert second.number == 2
    assert (await session.log_writer.recorded("s", "j1")).answers == {"q1": b'"yes"'}
    assert await ask(session, second, 1) == 2  # for those who dropped the first attempt
    assert (await session.sessions.job("s", "j1")).status == "running"


async def test_waiting_for_a_person_is_no_strike(open_session: Callable[..., Session]) -> None:
    session = open_session(max_attempts=1)
    await ask(session, await session.started(), 1)
    await session.try_claim(delivery=2)
    await session.sessions.answer("s", "j1", "q1", b"1")
    assert (await session.claim(delivery=3)).number == 2


async def test_a_question_that_nobody_answers_in_time_ends_the_job(open_session: Callable[..., Session]) -> None:
    session = open_session(ask_seconds=1)
    await ask(session, await session.started(), 1)
    await session.redis.hset(session.keys.jobs, "j1:asked_at", 1)
    assert (await session.try_claim(delivery=2)) == Refusal("ended")
    assert (await session.sessions.job("s", "j1")).ending["error"]["code"] == "unanswered"


async def test_a_parked_job_can_be_cancelled(session: Session) -> None:
    await ask(session, await session.started(), 1)
    await session.try_claim(delivery=2)
    await session.sessions.cancel("s", "j1")
    await session.log_writer.settle("s")
    assert (await session.sessions.job("s", "j1")).status == "cancelled"


async def test_a_job_is_cancelled_by_its_open_question_only(session: Session) -> None:
    attempt = await session.started()
    with pytest.raises(QuestionUnknown):
        await session.sessions.cancel("s", "j1", question_id="q1")
    await ask(session, attempt, 1)
    await session.sessions.answer("s", "j1", "q1", b"1")
    with pytest.raises(QuestionAnswered):
        await session.sessions.cancel("s", "j1", question_id="q1")
    assert not await session.redis.hexists(session.keys.jobs, "j1:cancel")
    await ask(session, attempt, 2, "q2")
    await session.sessions.cancel("s", "j1", question_id="q2")
    for _ in range(2):  # also once it has ended
        with pytest.raises(QuestionAnswered):
            await session.sessions.cancel("s", "j1", question_id="q2")
        await session.finish(attempt, 3)


async def test_a_step_is_recorded_for_the_next_attempt_and_its_first_outcome_stays(session: Session) -> None:
    attempt = await session.started()
    await session.record(attempt, b"1")
    await session.record(attempt, b"2")
    second = await session.claim(delivery=2)
    assert (await session.log_writer.recorded("s", "j1")).steps == {"pay:0:abc": b"1"}
    await session.finish(second, 1)
    assert (await session.log_writer.recorded("s", "j1")).steps == {}


async def test_a_zombie_records_nothing_and_brings_no_key_back(session: Session) -> None:
    zombie = await session.started()
    await session.claim(delivery=2)
    with pytest.raises(Fenced):
        await session.record(zombie, b"1")
    await session.sessions.delete("s")
    await session.log_writer.settle("s")
    with pytest.raises(LogGone):
        await session.record(zombie, b"1")
    assert await session.redis.keys("*") == [session.keys.log.encode()]
