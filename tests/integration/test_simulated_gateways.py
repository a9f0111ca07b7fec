"""The short form of scripts/simulate-gateways."""

from __future__ import annotations

import pytest
from holdfast.shared.redis.client import connect

from bench.gateways import Load, simulate, table
from tests.support.redis_cluster import RedisCluster

GATEWAYS = 3
LOAD = Load(sessions=12, active=6, rate=20, seconds=0.5, spread=2)


@pytest.fixture(params=["one Redis", "cluster"])
def servers(request: pytest.FixtureRequest) -> tuple[str, list[str]]:
    """The address of the logs, and those of its servers."""
    if request.param == "one Redis":
        url = request.getfixturevalue("redis_url")
        return url, [url]
    cluster: RedisCluster = request.getfixturevalue("redis_cluster")
    return cluster.url, [master.url for master in cluster.masters]


async def test_every_gateway_receives_every_event_of_its_sessions_and_nothing_is_left(
    servers: tuple[str, list[str]],
) -> None:
    url, nodes = servers
    measured = await simulate(url, GATEWAYS, LOAD)
    assert len(measured) == len(nodes)
    assert sum(each.sessions for each in measured) == LOAD.sessions
    assert [each.lost for each in measured] == [0] * len(nodes)
    assert sum(each.used.events for each in measured) > 0
    for node in nodes:
        redis = connect(node, max_connections=1)
        assert await redis.keys("*bench*") == []
        await redis.aclose()


async def test_each_tracking_gateway_gets_an_invalidation_and_every_server_has_a_column(
    redis_cluster: RedisCluster,
) -> None:
    measured = await simulate(redis_cluster.url, GATEWAYS, LOAD)
    pushes, events = (sum(getattr(each.used, name) for each in measured) for name in ("pushes", "events"))
    assert events < pushes <= LOAD.spread * (events + LOAD.active)
    assert [each.viewed.tracked_keys for each in measured] == [each.sessions for each in measured]
    head, _, *rows = (line.strip("| ").split(" | ") for line in table("3 gateways", [measured]).splitlines())
    assert head == ["3 gateways", "cluster of 3", "node 1", "node 2", "node 3"]
    assert {"lost": "0", "sessions with viewers": "12"}.items() <= {row[0]: row[1] for row in rows}.items()
