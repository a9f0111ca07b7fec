"""Tails the logs of all sessions with viewers on a Redis Cluster, over one connection to each master.

A node reports changes of the keys that were read there. While a slot moves, its keys are read, and tracked, on both
nodes; after it moved, the former owner reports nothing more, not even for a log that did not exist yet. So the channels
of a slot are read again when its owner changes, and every report of another node than that of the read under way counts
as a change.
"""

from __future__ import annotations

import asyncio
from contextvars import Context
from functools import partial
from typing import Any

import structlog
from holdfast.gateway.stream.channel import Channel, LiveViewer
from holdfast.gateway.stream.channels import Channels
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.node_tail import PAUSE_S, NodeTail
from holdfast.shared.background import repeat
from holdfast.shared.ids import EventId
from holdfast.shared.keyring import Keyring
from holdfast.shared.redis.cluster import Cluster
from holdfast.shared.redis.cluster_slots import redirect_of, slot_of
from holdfast.shared.redis.errors import BusyLoadingError, ConnectionLost, NoPermissionError, RedisError, is_lasting

logger = structlog.get_logger()


class ClusterTailer(Channels):
    """Reads all channels of a cluster: a `NodeTail` for each node that owns slots, or that one moves to."""

    def __init__(
        self, cluster: Cluster, counters: Counters, keyring: Keyring, *, recheck_s: float, deadline_s: float
    ) -> None:
        super().__init__(counters, keyring, recheck_s)
        self._cluster = cluster
        self._slot_owners = cluster.slots.owners
        self._deadline_s = deadline_s
        self._by_slot: dict[int, set[Channel]] = {}
        self._tails: dict[str, NodeTail] = {}
        self._tasks: dict[NodeTail, asyncio.Task[None]] = {}
        self._owners: set[str] = set()
        self._later: set[Channel] = set()
        self._postponed: set[Channel] = set()

    @property
    def connected(self) -> bool:
        tails = [self._tails.get(place) for place in self._cluster.slots.places]
        return bool(tails) and all(tail is not None and tail.connected for tail in tails)

    def watch(self, session_id: str) -> Channel:
        channel = super().watch(session_id)
        channel.slot = slot_of(channel.key)
        self._by_slot.setdefault(channel.slot, set()).add(channel)
        return channel

    def unwatch(self, channel: Channel, viewer: LiveViewer) -> None:
        super().unwatch(channel, viewer)
        if channel.key not in self.channels:
            on_slot = self._by_slot[channel.slot]
            on_slot.discard(channel)
            if not on_slot:
                del self._by_slot[channel.slot]

    async def run(self) -> None:
        self._cluster.moved_listeners.append(self._on_moved)
        self._cluster.keep_watching()
        self._follow_owners()
        try:
            await repeat("recheck", self._recheck)
        finally:
            self._cluster.moved_listeners.remove(self._on_moved)
            ending = [self._end(place) for place in [*self._tails]]
            await asyncio.gather(*ending, return_exceptions=True)

    def invalidated_by(self, tail: NodeTail, keys: list[bytes] | None) -> None:
        """Mark the channels of these keys, or all channels, as changed. See `Readings`."""
        for key in self.channels if keys is None else keys:
            channel = self.channels.get(key)
            if channel is not None:
                channel.changed = True
                # Reports and replies of one connection are ordered: its read covers a report that precedes the reply.
                if channel in tail.reading:
                    continue
                if self._tails.get(self._slot_owners[channel.slot]) is tail:
                    if channel.position is not None:
                        tail.dirty[channel] = None  # `drained` follows and reads it
                else:
                    self._schedule_read(channel)

    def read_by(self, tail: NodeTail, channel: Channel, count: int, reply: Any) -> None:
        """Take the reply to a read. See `Readings`."""
        tail.reading.discard(channel)
        if channel in self._postponed:
            self._postponed.discard(channel)
            self._schedule_read(channel)
        if not isinstance(reply, RedisError):
            if tail.in_outage:
                tail.log_recovery()
            self._on_channel_read(channel, count, reply)
        elif not self._is_asked(tail, channel, count, reply):
            channel.reading, channel.changed = None, True
            self._on_refused(tail, channel, reply)

    def postponed(self, channel: Channel) -> None:
        """Schedule the channel at the end of the read that is under way. See `Readings`."""
        self._postponed.add(channel)

    def opened(self, tail: NodeTail, *, again: bool) -> None:
        """Read the channels of the node. See `Readings`."""
        self._counters.reconnects += again
        for channel in self.channels.values():
            if self._owner(channel) is tail:
                channel.changed = True
                self._schedule_read(channel)

    def failed(self, tail: NodeTail) -> None:
        """Look for other owners of the node's slots. See `Readings`."""
        self._cluster.refresh_soon()
        self._read_asked_again(tail)
        if tail.place not in self._owners and self._tails.get(tail.place) is tail:
            self._end(tail.place)  # a slot was to move there: whoever is redirected to it starts it again

    def _is_asked(self, tail: NodeTail, channel: Channel, count: int, error: RedisError) -> bool:
        """Read a channel whose log has moved to another node before its slot. Returns whether that is so."""
        redirect = redirect_of(error, tail.place)
        if redirect is None or redirect.code != "ASK":
            return False
        target = self._tails.get(redirect.place) or self._start(redirect.place)
        return target.read_asking(channel, count)

    def _on_refused(self, tail: NodeTail, channel: Channel, error: RedisError) -> None:
        """Read again, where and when that may succeed."""
        redirect = redirect_of(error, tail.place)
        if redirect is not None and redirect.code == "MOVED":
            if not self._cluster.redirected(redirect):  # else `_on_moved` has scheduled the read
                self._read_later(channel)
        elif isinstance(error, ConnectionLost):
            self._schedule_read(channel)
        elif isinstance(error, NoPermissionError):
            tail.log_outage(f"{type(error).__name__}: {error}")  # the next recheck reads again
        elif is_lasting(error):
            logger.warning(
                "reading a log failed; its viewers catch up", session_id=channel.session_id, error=str(error)
            )
            self._fall_behind(channel)
        elif channel.position is not None:
            self._cluster.failed(error)
            if _is_of_node(error):
                (self._owner(channel) or tail).add_later(channel)
            else:
                self._read_later(channel)

    def _on_moved(self, slots: set[int]) -> None:
        """Read the channels of these slots again, at their new owners: the former ones report no more changes."""
        self._follow_owners()
        self._read_again(slots)

    def _read_again(self, slots: set[int]) -> None:
        for slot in self._by_slot.keys() & slots:
            for channel in self._by_slot[slot]:
                self._forget(channel)
                channel.changed = True
                self._schedule_read(channel)

    def _read_asked_again(self, tail: NodeTail) -> None:
        """Read at their owners what only this tail, whose connection ends, was told the changes of."""
        asked, tail.asked = tail.asked, set()
        self._read_again(asked)

    def _read_later(self, channel: Channel) -> None:
        """Read a channel after PAUSE_S, if it is still watched then."""
        if channel not in self._later:
            self._later.add(channel)
            asyncio.get_running_loop().call_later(PAUSE_S, self._read_now, channel)

    def _read_now(self, channel: Channel) -> None:
        self._later.discard(channel)
        if self.channels.get(channel.key) is channel:
            self._schedule_read(channel)

    def _follow_owners(self) -> None:
        """Connect to the nodes that own slots, and drop those that lost their last one."""
        owners = set(self._cluster.slots.places)
        for place in owners - self._tails.keys():
            self._start(place)
        for place in (self._owners - owners) & self._tails.keys():
            self._end(place)
        self._owners = owners

    def _start(self, place: str) -> NodeTail:
        tail = self._tails[place] = NodeTail(place, self._cluster.address.at(place), self, self._deadline_s)
        self._tasks[tail] = asyncio.create_task(tail.run(), context=Context())
        return tail

    def _end(self, place: str) -> asyncio.Task[None]:
        """Close the connection to a node. What is being read there is read again at its owner."""
        tail = self._tails.pop(place)
        tail.dirty.clear()
        task = self._tasks[tail]
        task.cancel()
        self._read_asked_again(tail)
        task.add_done_callback(lambda _: self._tasks.pop(tail))
        return task

    def _owner(self, channel: Channel) -> NodeTail | None:
        return self._tails.get(self._slot_owners[channel.slot])

    def _schedule_read(self, channel: Channel) -> None:
        owner = self._owner(channel)
        if owner is not None and channel.position is not None:
            owner.add(channel)

    def _forget(self, channel: Channel) -> None:
        for tail in self._tails.values():
            tail.dirty.pop(channel, None)

    def _check_position(self, channel: Channel, position: EventId) -> None:
        owner = self._owner(channel)
        if owner is not None:
            on_reply = partial(self._on_position_read, channel, position)
            owner.call(on_reply, "XRANGE", channel.key, str(position), str(position))


def _is_of_node(error: RedisError) -> bool:
    """Return whether an error concerns all slots of the node that sent it."""
    return isinstance(error, BusyLoadingError) or str(error).startswith("CLUSTERDOWN The cluster")
