"""The search for open sessions and for data keys, on a Redis Cluster that has lost a master for good."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from holdfast.shared.data_keys import DataKeys
from holdfast.shared.open_sessions import OpenSessions
from holdfast.shared.redis.errors import ConnectionLost
from holdfast.shared.redis.log_connections import LogConnections, connect_logs
from structlog.testing import capture_logs

from tests.support.log import Session
from tests.support.redis_cluster import RedisCluster

SESSIONS = 12


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[RedisCluster]:
    """Three masters, which this test may kill."""
    cluster = RedisCluster(tmp_path)
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
async def logs(cluster: RedisCluster) -> AsyncIterator[LogConnections]:
    logs = connect_logs(cluster.url, max_connections=2, deadline_s=5)
    yield logs
    await logs.aclose()


async def round_of(search: OpenSessions) -> list[str]:
    """The sessions that one round finds."""
    cursor, found = await search.page(0)
    while cursor:
        cursor, names = await search.page(cursor)
        found += names
    return sorted(found)


@pytest.mark.parametrize("number", [0, 1, 2])
async def test_a_round_leaves_out_a_master_that_does_not_answer_unless_none_does(
    cluster: RedisCluster, logs: LogConnections, number: int
) -> None:
    sessions = [Session(logs, f"s{at}") for at in range(SESSIONS)]
    for session in sessions:
        await session.submit()
    search = OpenSessions(logs)
    assert await round_of(search) == sorted(session.id for session in sessions)
    lost = cluster.masters[number]
    others = sorted(session.id for session in sessions if cluster.owner_of(session.keys.log) is not lost)
    lost.kill()
    with capture_logs() as lines:
        assert await round_of(search) == others
        assert await round_of(search) == others
        lost.start()
        assert await round_of(search) == others
    assert [(line["event"], line["node"]) for line in lines if line["event"].startswith("a master")] == [
        ("a master of the cluster cannot be searched", lost.place),
        ("a master of the cluster is searched again", lost.place),
    ]
    cluster.kill()
    with pytest.raises(ConnectionLost):
        await round_of(search)


async def test_tenants_are_not_listed_without_those_of_a_master_that_does_not_answer(
    cluster: RedisCluster, logs: LogConnections
) -> None:
    data_keys = DataKeys(logs.servers[0].redis, {})
    assert await data_keys.tenants() == []
    cluster.masters[1].kill()
    with pytest.raises(ConnectionLost):
        await data_keys.tenants()
