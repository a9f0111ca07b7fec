"""Live streams of sessions on a Redis Cluster: every event once and in order, while slots move under them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest
from holdfast.gateway.stream.hub import StreamLimits
from holdfast.shared.redis.log_connections import connect_logs

from tests.integration.test_cluster import ids, move_of, one_on_each
from tests.support.log import Session
from tests.support.process import until
from tests.support.redis_cluster import RedisCluster
from tests.support.streams import Streams, ids_until, streams

# No test here may be saved by the slow re-check.
QUICK = StreamLimits(redis_deadline_s=2, recheck_s=3600)


@pytest.fixture
async def session(redis_cluster: RedisCluster) -> AsyncIterator[Session]:
    session = Session(redis_cluster.url)
    yield session
    await session.aclose()


@pytest.fixture
async def served(redis_cluster: RedisCluster) -> AsyncIterator[Streams]:
    """Streams with connections of their own: they learn of moves as other gateways do."""
    async with streams(connect_logs(redis_cluster.url, max_connections=2, deadline_s=2), QUICK) as served:
        yield served


async def test_viewers_of_every_master_get_what_was_there_and_then_what_comes(
    redis_cluster: RedisCluster, served: Streams, session: Session
) -> None:
    async with AsyncExitStack() as stack:
        for on_node in one_on_each(redis_cluster, session.logs):
            attempt = await on_node.started()
            stream = await stack.enter_async_context(served.open(on_node.id, raw="true"))
            assert await ids_until(stream, f"{attempt.epoch}-1") == ids(attempt, 1)
            await on_node.append(attempt, 1, "a")
            assert await ids_until(stream, f"{attempt.epoch}-2") == ids(attempt, 2)[1:]


async def test_a_viewer_sees_every_event_once_while_its_slot_moves_key_by_key(
    redis_cluster: RedisCluster, served: Streams, session: Session
) -> None:
    attempt = await session.started()
    slot, source, target = move_of(redis_cluster, session)
    async with served.open(raw="true") as stream:
        await ids_until(stream, f"{attempt.epoch}-1")
        redis_cluster.begin_move(slot, source, target)
        await session.append(attempt, 1, "a")
        assert await ids_until(stream, f"{attempt.epoch}-2") == ids(attempt, 2)[1:]
        redis_cluster.move_keys(session.keys, source, target)
        await session.append(attempt, 2, "b")
        await session.append(attempt, 3, "c")
        assert await ids_until(stream, f"{attempt.epoch}-4") == ids(attempt, 4)[2:]
        redis_cluster.end_move(slot, target)
        await session.append(attempt, 4, "d")
        assert await ids_until(stream, f"{attempt.epoch}-5") == ids(attempt, 5)[4:]


async def test_an_empty_log_is_read_at_the_new_owner_of_its_slot(
    redis_cluster: RedisCluster, served: Streams, session: Session
) -> None:
    """The former owner reports nothing for a key that never existed there."""
    await session.submit()
    async with served.open(raw="true") as stream:
        await anext(stream.chunks())
        await until(
            lambda: all(channel.live for tailer in served.hub.tailers.values() for channel in tailer.channels.values())
        )
        redis_cluster.move_slot(*move_of(redis_cluster, session))
        attempt = await session.claim()
        assert await ids_until(stream, f"{attempt.epoch}-1") == ids(attempt, 1)
