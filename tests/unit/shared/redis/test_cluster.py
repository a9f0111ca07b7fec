"""Redirections between nodes that reply as the test says."""

from __future__ import annotations

from collections.abc import Sequence
from operator import attrgetter
from typing import Any, cast

import pytest
from holdfast.shared.redis.client import Client
from holdfast.shared.redis.cluster import Cluster
from holdfast.shared.redis.cluster_node import ClusterNode
from holdfast.shared.redis.cluster_slots import SLOTS, SlotRange, slot_of
from holdfast.shared.redis.errors import RedisError, ResponseError
from redis.exceptions import BusyLoadingError

SLOT = slot_of("k")


class Node(Client):
    """Sends nothing. `reply`: that to each command."""

    def __init__(self, reply: Any) -> None:
        self.reply = reply

    async def call(self, *command: Any) -> Any:
        if isinstance(self.reply, RedisError):
            raise self.reply
        return self.reply

    async def call_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        return [self.reply for _ in commands]


class Nodes(Cluster):
    """The cluster of these nodes, by their places. The first of them owns all slots."""

    def __init__(self, **replies: Any) -> None:
        super().__init__("redis+cluster://a:1", max_connections=1, deadline_s=5, flush_interval_s=0)
        self.replies = replies
        self.slots.report([SlotRange(0, SLOTS - 1, next(iter(replies)) + ":1", 1)])

    def node(self, place: str) -> ClusterNode:
        return ClusterNode(place, Node(self.replies[place.partition(":")[0]]), cast("Any", None))

    def keep_watching(self) -> None:
        pass

    def refresh_soon(self) -> None:
        pass


@pytest.mark.parametrize("code", ["ASK", "MOVED"])
async def test_any_error_of_the_node_to_which_a_command_was_redirected_is_raised(code: str) -> None:
    loading = BusyLoadingError("Redis is loading the dataset in memory")
    cluster = Nodes(a=ResponseError(f"{code} {SLOT} b:1"), b=loading)
    with pytest.raises(BusyLoadingError):
        await cluster.call(attrgetter("client"), ("HGET", "k", "f"))
