"""The product with its logs on a Redis Cluster of three masters, on the load's core as the one Redis of the others."""

from __future__ import annotations

import asyncio

from holdfast.shared.keys import log_key

from bench.load import NODE, Feed, Target
from bench.peers.holdfast import EVENTS, appends, claimed
from bench.peers.stage import Peer, Stage
from bench.processes import Child, await_listening, free_port
from tests.support.redis_cluster import RedisCluster

MASTERS = 3


def started(stage: Stage) -> tuple[RedisCluster, list[Child]]:
    """Start a cluster for one run."""
    cluster = RedisCluster(stage.folder, masters=MASTERS)
    children = []
    for node in cluster.nodes:
        node.folder.mkdir()
        child = Child(node.command, log=node.folder / "server.log", core=stage.cores.load, cwd=node.folder)
        stage.on_end(child.stop)
        await_listening(child, node.port)
        children.append(child)
    cluster.join()
    return cluster, children


def fed(cluster: RedisCluster, stage: Stage) -> Feed:
    """Claim the sessions, and return how events get to their nodes."""
    numbers = {node.place: number for number, node in enumerate(cluster.masters)}
    templates = []
    for attempt in asyncio.run(claimed(cluster.url, stage.sessions)):
        number = numbers[cluster.owner_of(log_key(attempt.session_id)).place]
        templates.append(b"%d" % number + NODE + appends(attempt, stage.event))
    first, *others = (node.port for node in cluster.masters)
    return Feed(first, "resp", templates, batch=stage.batch, more_ports=others)


def start(stage: Stage) -> Target:
    queue = stage.redis()
    cluster, nodes = started(stage)
    feed, port = fed(cluster, stage), free_port()
    env = {"HOLDFAST_REDIS_URL": queue.url, "HOLDFAST_LOG_REDIS_URL": cluster.url}
    server = stage.gateway(port, HOLDFAST_PORT=str(port), **env)
    return Target([port], EVENTS, feed, [server], queue, nodes)


PEER = Peer("cluster", "Holdfast, Redis Cluster of three", start)
