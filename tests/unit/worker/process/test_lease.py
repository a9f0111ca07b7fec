"""What a beat's answer means for the entries at hand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import pytest
from holdfast.shared.leases import Leases
from holdfast.shared.queue import QueueEntry
from holdfast.worker.process.deliveries import Deliveries
from holdfast.worker.process.lease import Lease
from holdfast.worker.process.outage import Outage


class Beats:
    """A queue whose beats answer with these entries. `during` happens while the answer is on its way, `taken` are those
    that another worker leases."""

    def __init__(self) -> None:
        self.leased: set[str] = set()
        self.during: Any = lambda: None
        self.taken: set[str] = set()
        self.retaken: list[str] = []

    async def beat(self, worker_id: str, status: bytes) -> set[str]:
        answer = set(self.leased)
        self.during()
        return answer

    async def retake(self, worker_id: str, entries: Sequence[QueueEntry]) -> set[str]:
        asked = {entry.id for entry in entries}
        self.retaken += sorted(asked - self.taken)
        return asked & self.taken


class Hand:
    def __init__(self, leases: Beats) -> None:
        self.here: set[str] = set()
        self.runs = {"s/a", "s/b"}
        self.lost: list[str] = []
        self.paused: set[str] = set()
        self.stray: list[str] = []
        outage, deliveries = Outage("queue"), cast("Deliveries", self)
        self.lease = Lease(cast("Leases", leases), outage, "w", 10, deliveries, self.stray.append)

    def held(self) -> set[str]:
        return self.here

    def running(self) -> dict[str, QueueEntry]:
        return {name: QueueEntry("s", name[2:], "agent", 1, 0) for name in self.here & self.runs}

    def lose(self, entry_id: str) -> None:
        self.lost.append(entry_id)


@pytest.fixture
def queue() -> Beats:
    return Beats()


@pytest.fixture
def hand(queue: Beats) -> Hand:
    return Hand(queue)


async def test_an_entry_that_is_leased_no_more_is_leased_again(queue: Beats, hand: Hand) -> None:
    hand.here = {"s/a", "s/b", "s/looked_at"}
    queue.leased = {"s/b"}
    await hand.lease.beat()
    assert (queue.retaken, hand.lost) == (["s/a"], [])


async def test_an_entry_that_another_worker_leases_is_lost(queue: Beats, hand: Hand) -> None:
    hand.here = queue.taken = {"s/a"}
    await hand.lease.beat()
    assert (queue.retaken, hand.lost) == ([], ["s/a"])


async def test_an_entry_taken_while_the_reply_was_in_flight_is_not_lost(queue: Beats, hand: Hand) -> None:
    queue.during = lambda: hand.here.add("s/a")
    await hand.lease.beat()
    assert (queue.retaken, hand.lost) == ([], [])


async def test_an_entry_dropped_while_the_reply_was_in_flight_is_not_lost(queue: Beats, hand: Hand) -> None:
    hand.here = {"s/a"}
    queue.during = hand.here.clear
    await hand.lease.beat()
    assert (queue.retaken, hand.lost) == ([], [])


async def test_an_entry_whose_taking_was_never_answered_is_found_at_the_second_heartbeat(
    queue: Beats, hand: Hand
) -> None:
    queue.leased = {"a"}
    await hand.lease.beat()
    assert hand.stray == []
    await hand.lease.beat()
    assert hand.stray == ["a"]


async def test_an_entry_whose_taking_is_answered_between_two_heartbeats_is_no_stray(queue: Beats, hand: Hand) -> None:
    queue.leased = {"a"}
    await hand.lease.beat()
    hand.here = {"a"}
    await hand.lease.beat()
    assert hand.stray == []
