"""What /readyz and `holdfast check` say about a Redis Cluster."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import pytest
from holdfast.gateway.readiness import Readiness
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.cluster import Cluster
from holdfast.shared.redis.log_connections import LogConnections, connect_logs
from holdfast.shared.redis.rights import missing_rights
from holdfast.shared.redis.users import WORKER, user_rules

from holdfast.cli.check import cluster_findings
from tests.support.process import until
from tests.support.redis_cluster import ClusterServer, RedisCluster


@pytest.fixture
async def logs(redis_cluster: RedisCluster) -> AsyncIterator[LogConnections]:
    logs = connect_logs(redis_cluster.url, max_connections=1, deadline_s=5)
    yield logs
    await logs.aclose()


@pytest.fixture
def evicting(redis_cluster: RedisCluster) -> Iterator[ClusterServer]:
    """A master that may evict sessions."""
    master = redis_cluster.masters[-1]
    master.call("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    yield master
    master.call("CONFIG", "SET", "maxmemory-policy", "noeviction")


@pytest.fixture
async def readiness(redis_url: str, logs: LogConnections) -> AsyncIterator[Readiness]:
    queue = connect(redis_url, max_connections=1)
    yield Readiness(redis_url, queue, logs)
    await queue.aclose()


async def test_a_gateway_is_ready_when_every_master_can_be_used(logs: LogConnections, readiness: Readiness) -> None:
    assert await readiness.reasons() == []


async def test_a_gateway_is_not_ready_while_a_master_may_evict(readiness: Readiness, evicting: ClusterServer) -> None:
    (reason,) = await readiness.reasons()
    assert reason.startswith(f"log redis: {evicting.place} maxmemory-policy is allkeys-lru")


async def test_a_gateway_is_ready_while_one_of_several_masters_is_away(
    logs: LogConnections, readiness: Readiness
) -> None:
    cluster = logs.servers[0].cluster
    assert cluster is not None
    await cluster.masters()
    cluster.slots.move(0, "127.0.0.1:1")
    assert await readiness.reasons() == []


async def test_a_gateway_is_ready_after_masters_were_replaced_and_came_back(redis_url: str, tmp_path: Path) -> None:
    servers = RedisCluster(tmp_path, masters=1, replicas=1)
    servers.start()
    logs = connect_logs(servers.url, max_connections=1, deadline_s=5)
    queue = connect(redis_url, max_connections=1)
    readiness, cluster = Readiness(redis_url, queue, logs), logs.servers[0].cluster
    assert cluster is not None
    try:
        assert await readiness.reasons() == []
        for node in reversed(servers.nodes):
            await until(partial(follows, node))
            node.call("CLUSTER", "FAILOVER")
            await until(partial(owns_all, cluster, node))
            await until(partial(is_ready, readiness))
    finally:
        await logs.aclose()
        await queue.aclose()
        servers.kill()


def follows(node: ClusterServer) -> bool:
    """Whether a node is a replica with a connection to its master."""
    role, *rest = node.call("ROLE")
    return bool(role == b"slave" and rest[2] == b"connected")


def owns_all(cluster: Cluster, node: ClusterServer) -> bool:
    return cluster.slots.places == [node.place]


async def is_ready(readiness: Readiness) -> bool:
    return await readiness.reasons() == []


async def test_a_gateway_is_not_ready_without_any_master(redis_url: str) -> None:
    logs = connect_logs("redis+cluster://127.0.0.1:1", max_connections=1, deadline_s=5)
    queue = connect(redis_url, max_connections=1)
    assert await Readiness(redis_url, queue, logs).reasons() == ["log redis: does not answer (ConnectionLost)"]
    await queue.aclose()
    await logs.aclose()


async def test_check_reports_each_master(redis_cluster: RedisCluster) -> None:
    found = [finding async for finding in cluster_findings("log redis", redis_cluster.url)]
    assert not [finding for finding in found if finding.ok is False]
    assert found[0].text.endswith("a cluster of 3 masters; each slot has one")
    for master in redis_cluster.masters:
        assert any(f"log redis node at redis://{master.place}/0: answers" in finding.text for finding in found)


async def test_a_user_needs_the_rights_of_a_cluster_on_every_master(redis_cluster: RedisCluster) -> None:
    for master in redis_cluster.masters:
        master.call("ACL", "SETUSER", *user_rules(WORKER, ["secret"]).split())
    address = redis_cluster.url.replace("://", "://worker:secret@")
    try:
        assert await missing_rights(address, WORKER.on_log, 5) == []
        redis_cluster.masters[1].call("ACL", "SETUSER", "worker", "-asking")
        assert await missing_rights(address, WORKER.on_log, 5) == ["ASKING"]
    finally:
        for master in redis_cluster.masters:
            master.call("ACL", "DELUSER", "worker")
