"""A job that no worker holds is cancelled: its turn stays in the conversation, as if a worker had ended it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from holdfast.shared import keys
from holdfast.shared.errors import Fenced
from holdfast.shared.ids import EventId
from holdfast.shared.log import session_claims
from holdfast.shared.log.log_replies import AppendOutcome
from holdfast.shared.log.turns import TurnReader
from holdfast.shared.queue import entry_id

from tests.integration.test_turns import LONGEST_PAUSE_S, longest_pause, many
from tests.support.log import Session, delta, said
from tests.support.process import until
from tests.support.workers import Client, worker_on


@pytest.fixture(autouse=True)
def _no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lease owner that does not answer counts as dead at once."""
    monkeypatch.setattr(session_claims, "CANCEL_PATIENCE_MS", 0)


@pytest.fixture
async def client(redis_url: str) -> AsyncIterator[Client]:
    client = Client(redis_url)
    yield client
    await client.close()


async def contents(session: Session) -> list[str]:
    return [message["content"] for message in await said(session.sessions)]


async def test_f66_a_job_whose_worker_was_killed_keeps_its_turn(session: Session) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "so far ", "so good")
    await session.sessions.cancel("s", "j1")
    settled = await session.log_writer.settle("s")
    assert await contents(session) == ["hello", "so far so good"]
    assert (await session.sessions.job("s", "j1")).status == "cancelled"
    assert (settled.held, settled.ended) == (False, ["j1"])


async def test_f66_a_job_that_is_interrupted_keeps_its_turn_and_the_next_one_is_the_head(session: Session) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "so far")
    await session.submit("j2", on_busy="interrupt")
    settled = await session.log_writer.settle("s")
    assert settled.head is not None
    assert settled.head.job_id == "j2"
    assert await contents(session) == ["hello", "so far"]


async def test_what_a_zombie_writes_while_the_turn_is_read_is_refused(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = await session.started()
    permit = (await session.append(attempt, 1, "so far")).permit
    await session.sessions.cancel("s", "j1")
    read = TurnReader.read
    taken: list[AppendOutcome] = []

    async def while_it_is_read(*args: object) -> list[bytes]:
        taken.append(await session.append_plain(permit, EventId(attempt.epoch, 3), delta("j1", " and more")))
        with pytest.raises(Fenced):
            await session.append(attempt, 2, " and more")
        return await read(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(TurnReader, "read", while_it_is_read)
    await session.log_writer.settle("s")
    assert taken == [AppendOutcome.UNKNOWN]
    assert await contents(session) == ["hello", "so far"]
    assert await session.texts() == ["so far"]


async def test_a_job_that_had_not_begun_leaves_no_turn(session: Session) -> None:
    await session.submit()
    await session.sessions.cancel("s", "j1")
    assert (await session.log_writer.settle("s")).ended == ["j1"]
    assert await contents(session) == []


async def test_a_worker_that_dies_between_the_two_steps_leaves_the_rest_to_the_next_one(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempt = await session.started()
    await session.append(attempt, 1, "so far")
    await session.sessions.cancel("s", "j1")

    async def dies(*_: object) -> list[bytes]:
        raise ConnectionError

    with monkeypatch.context() as patch:
        patch.setattr(TurnReader, "read", dies)
        with pytest.raises(ConnectionError):
            await session.log_writer.settle("s")
    assert (await session.sessions.job("s", "j1")).end is None
    assert (await session.log_writer.settle("s")).ended == ["j1"]
    assert await contents(session) == ["hello", "so far"]


async def test_a_deletion_needs_no_turn(session: Session) -> None:
    await session.started()
    await session.sessions.delete("s")
    assert (await session.log_writer.settle("s")).ended == ["j1"]
    assert not await session.redis.exists(session.keys.messages)


async def test_a_session_is_deleted_that_has_a_foreign_value_in_its_logs_place(session: Session) -> None:
    await session.started()
    await session.sessions.delete("s")
    await session.redis.set(session.keys.log, "what")
    assert (await session.log_writer.settle("s")).ended == ["j1"]
    assert not await session.redis.exists(session.keys.state)


async def test_f64_a_killed_job_of_a_hundred_thousand_events_is_settled_in_short_steps(session: Session) -> None:
    whole = await many(session)
    await session.sessions.cancel("s", "j1")
    settled, _, pause_s = await longest_pause(session.log_writer.settle("s"))
    assert settled.ended == ["j1"]
    assert await contents(session) == ["hello", whole]
    assert pause_s < LONGEST_PAUSE_S


async def test_f66_a_job_that_waits_for_a_person_after_a_deploy_keeps_its_turn(redis_url: str, client: Client) -> None:
    """Its worker has stopped, another one runs and holds nothing."""
    async with worker_on(redis_url, grace_seconds=0):
        await client.offered("scripted")
        await client.post(options={"ask": "Sure?", "tokens": 1})
        await client.until("s", "j1", lambda state: state.status == "waiting")

    async def parked() -> bool:
        return await client.redis.zscore(keys.DEFERRED, entry_id("s", "j1")) is not None

    async with worker_on(redis_url):
        await until(parked)
        await client.cancel()
        assert (await client.end())["by"] == "user"
    assert [(message["role"], message["content"]) for message in await said(client.sessions)] == [("user", "hi")]


async def test_f64_cancelling_a_job_of_a_hundred_thousand_events_costs_no_neighbour_an_attempt(
    redis_url: str, client: Client, session: Session
) -> None:
    whole = await many(session)  # by a worker that is not there
    async with worker_on(redis_url, lease_seconds=1), worker_on(redis_url, lease_seconds=1):
        await client.offered("scripted")
        for number in range(12):
            await client.post(f"t{number}", options={"tokens": 100_000, "interval_ms": 20})
        for number in range(12):
            await client.spoke(f"t{number}")
        await client.cancel()
        await client.end()
        for number in range(12):
            before = len(await client.entries(f"t{number}"))

            async def goes_on(session_id: str = f"t{number}", before: int = before) -> bool:
                return len(await client.entries(session_id)) > before

            await until(goes_on)
        assert {(await client.job(f"t{number}")).attempt for number in range(12)} == {1}
    assert await contents(session) == ["hello", whole]
