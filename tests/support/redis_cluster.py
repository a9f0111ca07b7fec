"""A real Redis Cluster of a test's own, whose nodes the test may kill, freeze, fail over and move slots between."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from holdfast.shared.redis.cluster_slots import SLOTS, slot_of
from redis import Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.support.ports import free_port
from tests.support.redis_server import RedisServer

UP_SECONDS = 30
MIGRATE_MS = 5000
KEYS_AT_ONCE = 100


class ClusterServer(RedisServer):
    """One node of a cluster."""

    def __init__(self, folder: Path, timeout_ms: int, **options: Any) -> None:
        self.bus_port = free_port()
        cluster: dict[str, Any] = {
            "cluster-enabled": "yes",
            "cluster-port": self.bus_port,
            "cluster-node-timeout": timeout_ms,
            "cluster-require-full-coverage": "no",
            "repl-diskless-sync-delay": 0,
        }
        super().__init__(folder, **cluster, **options)
        # A busy machine answers late, and a command that was repeated then may be refused.
        self.redis: Any = Redis(port=self.port, socket_timeout=15, retry=Retry(NoBackoff(), 0))

    @property
    def place(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def node_id(self) -> str:
        return str(self.call("CLUSTER", "MYID"), "ascii")

    def call(self, *command: object) -> Any:
        return self.redis.execute_command(*command)


class RedisCluster:
    """`masters` nodes that share the slots evenly, each with `replicas`. `options`: configuration of every node, by its
    Redis name with `_` for `-`."""

    def __init__(
        self, folder: Path, *, masters: int = 3, replicas: int = 0, timeout_ms: int = 2000, **options: Any
    ) -> None:
        count = masters * (1 + replicas)
        self.nodes = [ClusterServer(folder / f"node{number}", timeout_ms, **options) for number in range(count)]
        self.masters = self.nodes[:masters]
        self._replicas = replicas

    @property
    def url(self) -> str:
        """The address with all nodes as seeds."""
        return "redis+cluster://" + ",".join(node.place for node in self.nodes)

    def start(self) -> None:
        """Start all nodes, and return once each of them knows every slot's owner."""
        for node in self.nodes:
            node.start()
        self.join()

    def join(self) -> None:
        """Make a cluster of the started nodes."""
        first, *others = self.nodes
        for number, node in enumerate(self.nodes, 1):
            node.call("CLUSTER", "SET-CONFIG-EPOCH", number)
        share = SLOTS / len(self.masters)
        for number, master in enumerate(self.masters):
            master.call("CLUSTER", "ADDSLOTSRANGE", round(number * share), round((number + 1) * share) - 1)
        for node in others:
            node.call("CLUSTER", "MEET", "127.0.0.1", first.port, first.bus_port)
        wait(lambda: all(_info(node)["cluster_known_nodes"] == str(len(self.nodes)) for node in self.nodes))
        for number, replica in enumerate(self.nodes[len(self.masters) :]):
            master = self.masters[number % len(self.masters)]
            wait(partial(_replicates, replica, master))
        wait(lambda: all(self._settled(node) for node in self.nodes))

    def kill(self) -> None:
        """Kill all nodes."""
        for node in self.nodes:
            node.kill()

    def owner_of(self, key: str) -> ClusterServer:
        """Return the node that owns a key, as a majority of the answering nodes reports."""
        return self._owner(slot_of(key))

    def replica_of(self, master: ClusterServer) -> ClusterServer:
        """Return the first replica of a master."""
        return self.nodes[self.nodes.index(master) + len(self.masters)]

    def begin_move(self, slot: int, source: ClusterServer, target: ClusterServer) -> None:
        """Let a slot move: from now on its missing keys are asked for at the target."""
        target.call("CLUSTER", "SETSLOT", slot, "IMPORTING", source.node_id)
        source.call("CLUSTER", "SETSLOT", slot, "MIGRATING", target.node_id)

    def move_keys(self, keys: Iterable[str | bytes], source: ClusterServer, target: ClusterServer) -> None:
        """Move some keys of a slot that moves."""
        source.call("MIGRATE", "127.0.0.1", target.port, "", 0, MIGRATE_MS, "KEYS", *keys)

    def end_move(self, slot: int, target: ClusterServer) -> None:
        """End a move: every master names the target as the owner.

        The target takes the newest epoch first. Otherwise a message that the source sent before may take the slot from
        it again, so that each of them names the other for good."""
        target.call("CLUSTER", "BUMPEPOCH")
        target.call("CLUSTER", "SETSLOT", slot, "NODE", target.node_id)
        for node in self.masters:
            with suppress(RedisError):  # a killed one
                node.call("CLUSTER", "SETSLOT", slot, "NODE", target.node_id)

    def move_slot(self, slot: int, source: ClusterServer, target: ClusterServer) -> None:
        """Move a slot with its keys."""
        self.begin_move(slot, source, target)
        while keys := source.call("CLUSTER", "GETKEYSINSLOT", slot, KEYS_AT_ONCE):
            self.move_keys(keys, source, target)
        self.end_move(slot, target)

    def try_move(self, slot: int, target: ClusterServer) -> bool:
        """Move a slot to a master, unless it has it. Returns False where nodes refuse that now, or disagree."""
        places = {_owner_by(node, slot) for node in self.nodes}
        if len(places) > 1 or None in places:
            return False
        source = self._owner(slot)
        try:
            if source is not target:
                self.move_slot(slot, source, target)
        except RedisError:
            return False
        return True

    def _owner(self, slot: int) -> ClusterServer:
        votes = [place for node in self.nodes if (place := _owner_by(node, slot))]
        place = max(votes, key=votes.count)
        return next(node for node in self.nodes if node.place == place)

    def _settled(self, node: ClusterServer) -> bool:
        info = _info(node)
        slots = node.call("CLUSTER", "SLOTS")
        replicated = all(len(part) == 3 + self._replicas for part in slots) and len(slots) == len(self.masters)
        return info["cluster_state"] == "ok" and info["cluster_slots_assigned"] == str(SLOTS) and replicated


def wait(condition: Callable[[], bool], seconds: float = UP_SECONDS) -> None:
    """Wait until a condition holds. Raises RuntimeError after `seconds`."""
    ends_at = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > ends_at:
            raise RuntimeError("the cluster did not settle")
        time.sleep(0.02)


def _info(node: ClusterServer) -> dict[str, str]:
    lines = str(node.call("CLUSTER", "INFO"), "ascii").splitlines()
    return dict(line.split(":", 1) for line in lines)


def _replicates(replica: ClusterServer, master: ClusterServer) -> bool:
    try:
        replica.call("CLUSTER", "REPLICATE", master.node_id)
    except RedisError:  # it does not know the master yet
        return False
    return True


def _owner_by(node: ClusterServer, slot: int) -> str | None:
    try:
        slots = node.call("CLUSTER", "SLOTS")
    except RedisError:
        return None
    places = [f"{str(host, 'ascii')}:{port}" for first, last, (host, port, *_), *_ in slots if first <= slot <= last]
    return places[0] if places else None
