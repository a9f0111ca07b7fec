"""Who is dead, told from closed connections and counts. The clock is a number."""

from __future__ import annotations

from holdfast.worker.process.presence import ClosedConnections, Observation

CLOSED = Observation({"w": 7}, {"w": 7})
SAME = Observation({"w": 7}, {})


def found() -> ClosedConnections:
    """The connection of a worker was found closed at 0."""
    watch = ClosedConnections(grace_s=1)
    assert watch.observe(CLOSED, 0) == {}
    return watch


def test_a_worker_whose_connection_is_closed_and_whose_heartbeat_stands_still_is_dead() -> None:
    watch = found()
    assert watch.observe(SAME, 0.5) == {}
    assert watch.observe(SAME, 1) == {"w": 7}


def test_a_second_look_does_not_begin_the_wait_again() -> None:
    watch = found()
    assert watch.observe(CLOSED, 0.9) == {}
    assert watch.observe(SAME, 1) == {"w": 7}


def test_a_worker_that_registers_another_connection_is_alive() -> None:
    watch = found()
    assert watch.observe(Observation({"w": 8}, {}), 0.5) == {}
    assert watch.observe(Observation({"w": 8}, {}), 1.5) == {}


def test_a_worker_that_loses_the_next_connection_too_is_dead_a_while_after_that() -> None:
    watch = found()
    assert watch.observe(Observation({"w": 8}, {"w": 8}), 0.9) == {}
    assert watch.observe(Observation({"w": 8}, {}), 1.8) == {}
    assert watch.observe(Observation({"w": 8}, {}), 2) == {"w": 8}


def test_an_open_connection_is_no_death_however_long_the_heartbeat_stands_still() -> None:
    watch = ClosedConnections(grace_s=1)
    assert [watch.observe(SAME, second / 2) for second in range(20)] == [{}] * 20


def test_a_late_observation_starts_the_series_again() -> None:
    watch = found()
    assert watch.observe(SAME, 1.5) == {}
    assert watch.observe(SAME, 2) == {}


def test_an_observation_over_another_connection_starts_the_series_again() -> None:
    watch = found()
    assert watch.observe(Observation({"w": 7}, {}, first=True), 0.9) == {}
    assert watch.observe(SAME, 1.8) == {}


def test_a_failed_observation_starts_the_series_again() -> None:
    watch = found()
    watch.restart()
    assert watch.observe(SAME, 1) == {}


def test_a_worker_that_left_is_not_dead() -> None:
    watch = found()
    assert watch.observe(Observation({}, {}), 0.5) == {}
    assert watch.observe(SAME, 1) == {}
