"""The tailer of a cluster: whose reports and replies count while a slot moves and after it moved."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Self

import pytest
from hiredis import pack_command
from holdfast.gateway.stream import cluster_tailer, node_tail
from holdfast.gateway.stream.batch import Batch
from holdfast.gateway.stream.channel import Channel
from holdfast.gateway.stream.cluster_tailer import ClusterTailer
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.tailer import READ_EVENTS, READ_KEYS
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.keyring import Keyring
from holdfast.shared.redis import cluster as cluster_module
from holdfast.shared.redis.cluster import Cluster
from holdfast.shared.redis.cluster_slots import SLOTS, Redirect, SlotRange, slot_of
from holdfast.shared.redis.connection import Listener, RedisConnection
from holdfast.shared.redis.errors import ConnectionLost, ResponseError

from tests.support.process import until

A, B = "a:1", "b:1"
ID = b"1763683200123-1"
ENTRY = [ID, [b"j1 job.started", b"{}", b"p", b"0-0"]]


class Viewer:
    """A viewer that accepts every batch."""

    def __init__(self) -> None:
        self.cursor = ORIGIN

    def deliver(self, batch: Batch) -> None:
        self.cursor = batch.last

    def fall_behind(self) -> None:
        raise AssertionError("nothing here breaks the chain")


class Connection:
    """A tracked connection whose replies the test provides."""

    alive = True
    opened: dict[str, Connection]

    def __init__(self, listener: Listener) -> None:
        self.listener = listener
        self.reads: list[Callable[[Any], None]] = []
        self.commands: list[bytes] = []
        self.asking = 0

    @classmethod
    async def open(cls, url: str, _deadline_s: float, *, listener: Listener | None = None) -> Self:
        if listener is None:
            raise ConnectionLost("no node reports its slots")
        connection = cls(listener)
        cls.opened[url.split("/")[2]] = connection
        return connection

    def call_each(self, on_replies: Sequence[Callable[[Any], None]], commands: Sequence[bytes]) -> None:
        for on_reply, command in zip(on_replies, commands, strict=True):
            if command == node_tail.ASKING:
                self.asking += 1
            else:
                self.reads.append(on_reply)
                self.commands.append(command)

    def abort(self) -> None:
        for on_reply in self.reads:
            on_reply(ConnectionLost("the connection was closed"))


@pytest.fixture
async def connections(monkeypatch: pytest.MonkeyPatch) -> dict[str, Connection]:
    """The connections of the tailer by their places, once it has opened them."""
    monkeypatch.setattr(Connection, "opened", {}, raising=False)
    monkeypatch.setattr(RedisConnection, "open", Connection.open)
    return Connection.opened


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    """Two masters with half of the slots each: A has that of the session `s`."""
    cluster = Cluster(f"redis+cluster://{A}", max_connections=1, deadline_s=1, flush_interval_s=0)
    half = SLOTS // 2
    assert slot_of("{s}") < half
    cluster.slots.report([SlotRange(0, half - 1, A, 1), SlotRange(half, SLOTS - 1, B, 1)])
    yield cluster
    await cluster.aclose()


@pytest.fixture
async def tailer(cluster: Cluster, connections: dict[str, Connection]) -> AsyncIterator[ClusterTailer]:
    tailer = ClusterTailer(cluster, Counters(), Keyring(None, {}), recheck_s=3600, deadline_s=1)
    running = asyncio.create_task(tailer.run())
    await until(lambda: tailer.connected)
    yield tailer
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running


@pytest.fixture
async def channel(tailer: ClusterTailer, connections: dict[str, Connection]) -> Channel:
    """The channel of a session with a live viewer, whose first read is under way at A."""
    channel = tailer.watch("s")
    assert tailer.join(channel, Viewer())
    await until(lambda: bool(connections[A].reads))
    return channel


async def test_a_report_of_another_node_than_that_of_the_read_under_way_counts(
    connections: dict[str, Connection], channel: Channel
) -> None:
    connections[A].reads.pop()(ResponseError(f"ASK {slot_of('{s}')} {B}"))
    assert connections[B].asking == len(connections[B].reads) == 1
    connections[A].listener.invalidated([channel.key])
    connections[A].listener.drained()
    connections[B].reads.pop()([])
    await until(lambda: len(connections[A].reads) == 1)


async def test_a_report_that_precedes_the_reply_of_its_own_node_is_covered_by_it(
    connections: dict[str, Connection], channel: Channel
) -> None:
    connections[A].listener.invalidated([channel.key])
    connections[A].reads.pop()([ENTRY])
    connections[A].listener.drained()
    assert not connections[A].reads
    assert channel.position == EventId(1763683200123, 1)


async def test_a_moved_slot_is_read_at_its_new_owner_once_the_read_under_way_has_ended(
    cluster: Cluster, connections: dict[str, Connection], channel: Channel
) -> None:
    cluster.redirected(Redirect("MOVED", slot_of("{s}"), B))
    await asyncio.sleep(0)
    assert not connections[B].reads
    connections[A].reads.pop()([])
    await until(lambda: len(connections[B].reads) == 1)


async def test_a_node_that_is_down_is_asked_again(connections: dict[str, Connection], channel: Channel) -> None:
    connections[A].reads.pop()(ResponseError("CLUSTERDOWN The cluster is down"))
    await until(lambda: len(connections[A].reads) == 1)
    connections[A].reads.pop()([ENTRY])
    assert channel.position == EventId(1763683200123, 1)


async def test_a_slot_of_which_two_nodes_name_each_other_is_not_read_at_once_for_ever(
    monkeypatch: pytest.MonkeyPatch, connections: dict[str, Connection], channel: Channel
) -> None:
    monkeypatch.setattr(cluster_module, "SETTLE_S", 3600)
    slot = slot_of("{s}")
    connections[A].reads.pop()(ResponseError(f"MOVED {slot} {B}"))
    await until(lambda: len(connections[B].reads) == 1)
    monkeypatch.setattr(cluster_tailer, "PAUSE_S", 3600)
    connections[B].reads.pop()(ResponseError(f"MOVED {slot} {A}"))
    for _ in range(10):
        await asyncio.sleep(0)
    assert not connections[A].reads
    assert not connections[B].reads


async def test_a_slot_that_is_not_served_holds_up_no_other_of_its_node(
    monkeypatch: pytest.MonkeyPatch, tailer: ClusterTailer, connections: dict[str, Connection], channel: Channel
) -> None:
    monkeypatch.setattr(node_tail, "PAUSE_S", 3600)
    connections[A].reads.pop()(ResponseError("CLUSTERDOWN Hash slot not served"))
    other = next(f"s{number}" for number in range(100) if slot_of(f"{{s{number}}}") < SLOTS // 2)
    assert tailer.join(tailer.watch(other), Viewer())
    await until(lambda: len(connections[A].reads) == 1)


async def test_what_was_read_at_the_target_of_a_move_is_read_again_when_its_connection_is_lost(
    connections: dict[str, Connection], channel: Channel
) -> None:
    connections[A].reads.pop()(ResponseError(f"ASK {slot_of('{s}')} {B}"))
    connections[B].reads.pop()([])
    connections[B].listener.lost()
    await until(lambda: len(connections[A].reads) == 1)


async def test_what_a_node_was_to_read_is_forgotten_with_its_last_slot(
    tailer: ClusterTailer, cluster: Cluster, connections: dict[str, Connection], channel: Channel
) -> None:
    listener = connections[A].listener
    listener.invalidated([channel.key])
    cluster.slots.report([SlotRange(0, SLOTS - 1, B, 2)])
    for listen in cluster.moved_listeners:
        listen({*range(SLOTS)})
    tailer.unwatch(channel, next(iter(channel.live)))
    listener.drained()  # would ask for what follows no position
    assert len(connections[A].reads) == 1


async def test_a_report_of_the_target_of_a_move_is_followed_by_a_read_at_the_owner(
    connections: dict[str, Connection], channel: Channel
) -> None:
    connections[A].reads.pop()(ResponseError(f"ASK {slot_of('{s}')} {B}"))
    connections[B].reads.pop()([])
    connections[B].listener.invalidated([channel.key])
    connections[B].listener.drained()
    await until(lambda: len(connections[A].reads) == 1)
    assert not connections[B].reads


async def test_what_was_read_at_the_target_of_a_move_is_read_again_when_that_lost_its_own_slots(
    cluster: Cluster, connections: dict[str, Connection], channel: Channel
) -> None:
    connections[A].reads.pop()(ResponseError(f"ASK {slot_of('{s}')} {B}"))
    connections[B].reads.pop()([])
    of_b = cluster.slots.report([SlotRange(0, SLOTS - 1, A, 2)])
    for listener in cluster.moved_listeners:
        listener(of_b)
    await until(lambda: len(connections[A].reads) == 1)


async def test_a_read_that_fails_in_the_gateway_leaves_what_waits_for_it_to_the_new_owner(
    cluster: Cluster, connections: dict[str, Connection], channel: Channel
) -> None:
    cluster.redirected(Redirect("MOVED", slot_of("{s}"), B))
    await asyncio.sleep(0)
    with pytest.raises(TypeError):
        connections[A].reads.pop()([1 / 2])
    connections[A].listener.lost()
    await until(lambda: len(connections[B].reads) == 1)


async def test_channels_that_wait_for_another_node_hold_up_no_others(
    cluster: Cluster, tailer: ClusterTailer, connections: dict[str, Connection]
) -> None:
    moved, staying = _sessions_of(A, READ_KEYS), _sessions_of(B, 1)
    for session in moved:
        assert tailer.join(tailer.watch(session), Viewer())
    await until(lambda: len(connections[A].reads) == READ_KEYS)
    slots = {slot_of(f"{{{session}}}") for session in moved}
    for slot in slots:
        cluster.slots.move(slot, B)
    for listener in cluster.moved_listeners:
        listener(slots)
    assert tailer.join(tailer.watch(staying[0]), Viewer())
    await until(lambda: len(connections[B].reads) == 1)


async def test_a_channel_without_live_viewers_is_not_read(
    tailer: ClusterTailer, connections: dict[str, Connection], channel: Channel
) -> None:
    connections[A].reads.pop()([])
    [viewer] = channel.live
    tailer.leave(channel, viewer)
    connections[A].listener.invalidated([channel.key])
    connections[A].listener.drained()
    assert not connections[A].reads


async def test_commands_are_packed_as_hiredis_packs_them(
    tailer: ClusterTailer, connections: dict[str, Connection], channel: Channel
) -> None:
    connections[A].reads.pop()([ENTRY])
    connections[A].listener.invalidated([channel.key])
    connections[A].listener.drained()
    first, second = connections[A].commands
    assert first == pack_command(("XRANGE", channel.key, "(0-0", "+", "COUNT", READ_EVENTS))  # type: ignore[arg-type]
    assert second == pack_command(("XRANGE", channel.key, b"(" + ID, "+", "COUNT", READ_EVENTS))  # type: ignore[arg-type]
    assert pack_command(("ASKING",)) == node_tail.ASKING


def _sessions_of(place: str, count: int) -> list[str]:
    """Names of sessions in the half of the slots that A or B has."""
    named = (f"s{number}" for number in range(10_000))
    return [*islice((name for name in named if (slot_of(f"{{{name}}}") < SLOTS // 2) == (place == A)), count)]
