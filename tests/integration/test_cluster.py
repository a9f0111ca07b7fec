"""Logs on a Redis Cluster: writing and reading, while slots move and after they moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from itertools import count
from typing import Any

import pytest
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.stream.subscriber import Subscriber
from holdfast.gateway.stream.viewer import StreamRequest
from holdfast.shared.data_keys import DataKeys
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.log_replies import AppendOutcome, Attempt
from holdfast.shared.open_sessions import OpenSessions
from holdfast.shared.redis.cluster_slots import slot_of
from holdfast.shared.redis.errors import ConnectionLost
from holdfast.shared.redis.log_connections import LogConnections, connect_logs

from tests.support.log import Session, completed, delta
from tests.support.redis_cluster import ClusterServer, RedisCluster


@pytest.fixture
async def logs(redis_cluster: RedisCluster) -> AsyncIterator[LogConnections]:
    logs = connect_logs(redis_cluster.url, max_connections=2, deadline_s=5)
    yield logs
    await logs.aclose()


@pytest.fixture
def session(logs: LogConnections) -> Session:
    return Session(logs)


def one_on_each(cluster: RedisCluster, logs: LogConnections) -> list[Session]:
    """A session on each master."""
    sessions: dict[str, Session] = {}
    for number in count():
        session = Session(logs, f"s{number}")
        sessions.setdefault(cluster.owner_of(session.keys.log).place, session)
        if len(sessions) == len(cluster.masters):
            return list(sessions.values())
    raise AssertionError


def move_of(cluster: RedisCluster, session: Session) -> tuple[int, ClusterServer, ClusterServer]:
    """The slot of a session, its owner and another master."""
    source = cluster.owner_of(session.keys.log)
    target = next(master for master in cluster.masters if master is not source)
    return slot_of(session.keys.log), source, target


async def read_all(session: Session) -> list[str]:
    page = await session.log.read(session.id, ORIGIN)
    assert page.gap is None
    return [str(entry.id) for entry in page.entries]


def ids(attempt: Attempt, last: int) -> list[str]:
    return [f"{attempt.epoch}-{seq}" for seq in range(1, last + 1)]


async def test_jobs_on_every_master_run_from_their_submission_to_their_end(
    redis_cluster: RedisCluster, logs: LogConnections
) -> None:
    for session in one_on_each(redis_cluster, logs):
        attempt = await session.started()
        appended = await session.append(attempt, 1, "a")
        first = EventId(attempt.epoch, 3)
        outcome = await session.append_plain(appended.permit, first, delta("j1", "b"), delta("j1", "c"))
        assert outcome is AppendOutcome.ADDED
        assert appended.permit is not None
        assert await session.renew_permit(appended.permit, EventId(attempt.epoch, 4)) is not None
        subscription = await Subscriber(logs).subscribe(StreamRequest(session.id, SSE))
        assert subscription.first is not None
        assert len(subscription.first.entries) == 4
        await session.finish(attempt, 4)
        assert await read_all(session) == ids(attempt, 5)
        assert (await session.sessions.job(session.id, "j1")).status == "completed"


async def test_open_sessions_and_tenants_of_every_master_are_found(
    redis_cluster: RedisCluster, logs: LogConnections
) -> None:
    sessions = one_on_each(redis_cluster, logs)
    data_keys = DataKeys(logs.servers[0].redis, {})
    for session in sessions:
        await session.submit()
        await session.redis.set(f"holdfast:datakey:{session.id}", b"x")
    open_sessions, cursor, found = OpenSessions(logs), 0, list[str]()
    while True:
        cursor, names = await open_sessions.page(cursor)
        found += names
        if cursor == 0:
            break
    names = sorted(session.id for session in sessions)
    assert sorted(found) == names
    assert len(await open_sessions.open(names)) == len(names)
    assert await data_keys.tenants() == names
    assert await data_keys.read([*names, "nobody"]) == ["x"] * len(names) + [""]


async def test_a_moved_slot_is_followed_by_scripts_appends_and_reads(
    redis_cluster: RedisCluster, session: Session
) -> None:
    attempt = await session.started()
    permit = (await session.append(attempt, 1, "a")).permit
    redis_cluster.move_slot(*move_of(redis_cluster, session))
    outcome = await session.append_plain(permit, EventId(attempt.epoch, 3), delta("j1", "b"))
    assert outcome is AppendOutcome.REFUSED
    permit = (await session.append(attempt, 2, "b")).permit
    permit = (await session.append(attempt, 3, "c")).permit
    outcome = await session.append_plain(permit, EventId(attempt.epoch, 5), delta("j1", "d"))
    assert outcome is AppendOutcome.ADDED
    assert await read_all(session) == ids(attempt, 5)
    assert (await session.sessions.job(session.id, "j1")).status == "running"


async def test_a_session_whose_keys_have_all_moved_is_used_at_the_target_before_the_slot_belongs_to_it(
    redis_cluster: RedisCluster, session: Session
) -> None:
    attempt = await session.started()
    permit = (await session.append(attempt, 1, "a")).permit
    slot, source, target = move_of(redis_cluster, session)
    redis_cluster.begin_move(slot, source, target)
    redis_cluster.move_keys(session.keys, source, target)
    events = [delta("j1", "b"), delta("j1", "c")]
    assert await session.append_plain(permit, EventId(attempt.epoch, 3), *events) is AppendOutcome.REFUSED
    assert (await session.append(attempt, 2, "b")).seq == 3
    assert (await session.append(attempt, 3, "c")).seq == 4
    assert await read_all(session) == ids(attempt, 4)
    redis_cluster.end_move(slot, target)


async def test_a_script_waits_while_its_keys_are_on_two_nodes(redis_cluster: RedisCluster, session: Session) -> None:
    attempt = await session.started()
    slot, source, target = move_of(redis_cluster, session)
    redis_cluster.begin_move(slot, source, target)
    redis_cluster.move_keys([session.keys.log], source, target)
    appending = asyncio.create_task(session.append(attempt, 1, "a"))
    finishing = asyncio.create_task(session.sessions.job(session.id, "j1"))
    done, _ = await asyncio.wait([appending, finishing], timeout=0.1)
    assert not done
    redis_cluster.move_keys(session.keys, source, target)
    assert (await appending).seq == 2
    redis_cluster.end_move(slot, target)
    assert (await finishing).status == "running"


HALF_MOVED = pytest.mark.parametrize("moved", [slice(0, 0), slice(1, 3), slice(0, 8)], ids=["none", "some", "all"])


async def with_all_keys(session: Session) -> Attempt:
    """The second job of a session, once each key of the session exists."""
    first = await session.started()
    await session.log_writer.finish(session.id, first.epoch, 1, completed("j1"), messages=[b"{}"], usage=b"")
    await session.submit("j2", idempotency_key="k")
    attempt = await session.claim("j2")
    await session.record(attempt)
    assert await session.redis.exists(*session.keys) == len(session.keys)
    return attempt


async def while_moving(
    cluster: RedisCluster, session: Session, moved: slice, call: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    """Make a call while some keys of the session have moved, then move the others, and the slot."""
    slot, source, target = move_of(cluster, session)
    cluster.begin_move(slot, source, target)
    keys = session.keys[moved]
    if keys:
        cluster.move_keys(keys, source, target)
    calling = asyncio.create_task(call())
    if 0 < len(keys) < len(session.keys):
        done, _ = await asyncio.wait([calling], timeout=0.1)
        assert not done
        cluster.move_keys(session.keys, source, target)
    await calling
    cluster.move_keys(session.keys, source, target)
    cluster.end_move(slot, target)


@HALF_MOVED
async def test_a_job_ends_once_and_its_session_expires_where_its_slot_is_half_moved(
    redis_cluster: RedisCluster, session: Session, moved: slice
) -> None:
    attempt = await with_all_keys(session)
    await while_moving(redis_cluster, session, moved, lambda: session.finish(attempt, 1))
    assert (await session.finish(attempt, 1)).seq == 2
    assert (await read_all(session))[2:] == ids(attempt, 2)
    assert (await session.sessions.job(session.id, "j2")).status == "completed"
    kept = [key for key in session.keys if await session.redis.exists(key)]
    assert kept == [key for key in session.keys if key not in (session.keys.backlog, session.keys.journal)]
    assert all([await session.redis.ttl(key) > 0 for key in kept])


@HALF_MOVED
async def test_a_session_is_deleted_once_where_its_slot_is_half_moved(
    redis_cluster: RedisCluster, session: Session, moved: slice
) -> None:
    attempt = await with_all_keys(session)
    await session.sessions.delete(session.id)
    await session.log_writer.release(session.id, attempt.epoch)
    await while_moving(redis_cluster, session, moved, lambda: session.log_writer.settle(session.id))
    assert (await session.log_writer.settle(session.id)).ended == []
    assert [key for key in session.keys if await session.redis.exists(key)] == [session.keys.log]
    entries = await session.redis.xrange(session.keys.log)
    assert [next(iter(fields)) for _, fields in entries] == [b"j2 job.cancelled", b" session.deleted"]
    assert await session.redis.ttl(session.keys.log) > 0


async def test_a_command_without_an_owner_fails_as_a_lost_connection(redis_cluster: RedisCluster) -> None:
    logs = connect_logs("redis+cluster://127.0.0.1:1", max_connections=1, deadline_s=5)
    with pytest.raises(ConnectionLost):
        await Session(logs).submit()
    await logs.aclose()
