"""F48: whatever is appended between replay and live is told once, wherever in the hand-over it falls."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis as blocking_redis
from holdfast.gateway.stream.channel import Channel
from holdfast.gateway.stream.hub import StreamLimits
from holdfast.gateway.stream.tailer import Tailer
from holdfast.gateway.stream.viewer import Viewer
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.keys import session_keys
from holdfast.shared.log.event_log import EventLog, Gap, Page
from holdfast.shared.scripts import source

from tests.support.log import Session, delta
from tests.support.streams import Streams, ids_until, streams


@pytest.fixture
async def session(redis_url: str) -> AsyncIterator[Session]:
    session = Session(redis_url)
    yield session
    await session.aclose()


@pytest.fixture
async def served(redis_url: str) -> AsyncIterator[Streams]:
    async with streams(redis_url, StreamLimits(recheck_s=3600)) as served:  # no net may save what the hand-over loses
        yield served


class Intruder:
    """Appends in the middle of anything, without the event loop taking a step."""

    def __init__(self, redis_url: str, epoch: int) -> None:
        self._client = blocking_redis.Redis.from_url(redis_url)
        self._append = self._client.register_script(source("session", "append", prelude=False))
        self.epoch = epoch
        self.seq = 1

    def append(self, count: int) -> None:
        keys = session_keys("s")
        events = [part for n in range(count) for part in delta("j1", f"w{self.seq + n}").field()]
        self._append(keys=[keys.log, keys.state], args=[self.epoch, self.seq, 100_000, *events])
        self.seq += count

    def close(self) -> None:
        self._client.close()


@pytest.mark.parametrize("seed", range(4))
async def test_f48_appends_at_every_step_of_the_hand_over_are_told_once(
    served: Streams, session: Session, redis_url: str, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    attempt = await session.started()
    intruder = Intruder(redis_url, attempt.epoch)
    chance = random.Random(seed)

    def intrude() -> None:
        if chance.random() < 0.5 and intruder.seq < 2000:
            intruder.append(chance.choice([1, 1, 2, 300]))

    def around(name: str, owner: type) -> None:
        original: Callable[..., Any] = getattr(owner, name)

        def wrapped(*arguments: Any, **named: Any) -> Any:
            intrude()
            result = original(*arguments, **named)
            intrude()
            return result

        monkeypatch.setattr(owner, name, wrapped)

    for name in ("watch", "join", "_read", "_on_channel_read"):
        around(name, Tailer)
    for name in ("deliver", "push", "fall_behind"):
        around(name, Viewer)
    around("update_estimate", Channel)
    for _ in range(15):
        cursor = EventId(attempt.epoch, chance.randint(1, intruder.seq))
        async with served.open(cursor=str(cursor), raw="true") as stream:
            intruder.append(1)
            last = intruder.seq
            seen = await ids_until(stream, f"{attempt.epoch}-{last}")
            assert seen[: last - cursor.seq] == [f"{attempt.epoch}-{seq}" for seq in range(cursor.seq + 1, last + 1)]
    intruder.close()


async def test_f48_a_first_event_that_comes_between_two_reads_of_an_empty_log_is_no_gap(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader found no entry, then the first claim came, then it read from the state that there had been events: it
    told the viewer that they had expired."""
    await session.submit()
    log = EventLog(session.logs)
    original = log._newest_upto

    async def claim_in_between(session_id: str, cursor: EventId) -> EventId:
        newest = await original(session_id, cursor)
        await session.claim()
        return newest

    monkeypatch.setattr(log, "_newest_upto", claim_in_between)
    assert await log.read("s", ORIGIN) == Page([], more=True)
    monkeypatch.undo()
    assert [entry.kind for entry in (await log.read("s", ORIGIN)).entries] == ["job.started"]


async def test_f48_a_log_without_any_entry_is_told_as_expired_and_not_looked_at_for_ever(session: Session) -> None:
    await session.started()
    await session.redis.xtrim(session.keys.log, maxlen=0, approximate=False)
    assert (await session.log.read("s", ORIGIN)).gap == Gap("expired", ORIGIN)
