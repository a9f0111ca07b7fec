"""What scripts/failover-sentinel counts as lost and as doubled."""

from __future__ import annotations

from holdfast.shared.ids import EventId

from tests.support.failovers import count
from tests.support.history import Gap, History, Told

EPOCH = 1_700_000_000_000


def event(seq: int, kind: str = "text.delta") -> Told:
    return Told(EventId(EPOCH, seq), f"digest {seq}", kind, "j1", EventId(0, 0) if seq == 1 else None)


LOG = [event(1, "job.started"), event(2), event(3), event(4, "job.completed")]


def counted(*steps: Told | Gap) -> tuple[int, int, int]:
    history = History()
    history.client("s", "viewer").steps = [*steps]
    result = count(history, {"s": LOG})
    return result.lost, result.doubled, result.gaps


def test_a_viewer_with_the_whole_log_lost_nothing() -> None:
    assert counted(*LOG) == (0, 0, 0)


def test_an_event_that_is_missing_is_lost() -> None:
    assert counted(LOG[0], LOG[2], LOG[3]) == (1, 0, 0)


def test_an_event_that_comes_twice_is_doubled() -> None:
    assert counted(LOG[0], LOG[1], LOG[1], *LOG[2:]) == (0, 1, 0)


def test_an_event_that_a_gap_took_back_and_that_comes_again_is_neither() -> None:
    assert counted(*LOG[:3], Gap("lost", LOG[1].id), LOG[2], LOG[3]) == (0, 0, 1)
