"""What a channel keeps for viewers that are behind, and for how long."""

from __future__ import annotations

from gateway.stream.counters import Counters
from gateway.stream.framing import Batch
from gateway.stream.tailer import Tailer
from shared.event_log import Entry
from shared.ids import ORIGIN, EventId


class Viewer:
    """Takes everything."""

    def __init__(self) -> None:
        self.cursor = ORIGIN

    def deliver(self, batch: Batch) -> None:
        self.cursor = batch.last

    def fall_behind(self) -> None:
        raise AssertionError("nothing here breaks the chain")


def batch(seq: int) -> Batch:
    prev = EventId(1, seq - 1) if seq > 1 else ORIGIN
    return Batch(prev, [Entry(EventId(1, seq), "status", "j1", b'{"type":"status"}', prev)])


async def test_what_is_kept_for_a_viewer_that_catches_up_goes_when_it_goes_away() -> None:
    """It used to stay for as long as anybody else watched: up to 256 KiB for each session."""
    tailer = Tailer("redis://127.0.0.1:1", Counters(), recheck_s=3600, deadline_s=1)
    channel = tailer.watch("s")
    live, behind = Viewer(), Viewer()
    assert tailer.join(channel, live)
    assert tailer.watch("s") is channel
    channel.keep(batch(1))
    assert channel.tail_bytes > 0
    tailer.unwatch(channel, behind)
    assert (len(channel.tail), channel.tail_bytes) == (0, 0)
    assert channel.live == {live}
