"""Who is dead, told from counts alone. The clock is a number."""

from __future__ import annotations

from holdfast.worker.process.lease import FailureDetector, OwnHeartbeat

LEASE_S = 10.0


def detector() -> FailureDetector:
    return FailureDetector(LEASE_S, late_s=2.5)


def observe_each(watch: FailureDetector, counts: dict[str, int], first_s: int, last_s: int) -> dict[str, int]:
    """Look once a second with the same counts; answers what the last look said."""
    dead: dict[str, int] = {}
    for now_s in range(first_s, last_s + 1):
        dead = watch.observe(counts, now_s)
    return dead


def test_a_count_that_does_not_move_for_the_lease_is_a_dead_worker() -> None:
    watch = detector()
    assert observe_each(watch, {"w": 7}, 0, 9) == {}
    assert watch.observe({"w": 7}, 10) == {"w": 7}


def test_a_count_that_moves_is_alive_however_slowly() -> None:
    watch = detector()
    for beat in range(20):
        assert observe_each(watch, {"w": beat}, beat * 9, beat * 9 + 8) == {}


def test_a_failed_look_starts_the_series_again() -> None:
    watch = detector()
    observe_each(watch, {"w": 7}, 0, 9)
    watch.restart()
    assert observe_each(watch, {"w": 7}, 10, 19) == {}
    assert watch.observe({"w": 7}, 20) == {"w": 7}


def test_a_late_look_starts_the_series_again() -> None:
    watch = detector()
    observe_each(watch, {"w": 7}, 0, 5)
    assert watch.observe({"w": 7}, 25) == {}  # Redis stood still for 20 s: nobody could count up
    assert observe_each(watch, {"w": 7}, 26, 34) == {}
    assert watch.observe({"w": 7}, 35) == {"w": 7}


def test_a_worker_that_was_away_is_seen_anew() -> None:
    watch = detector()
    observe_each(watch, {"w": 7}, 0, 8)
    watch.observe({}, 9)
    assert observe_each(watch, {"w": 7}, 10, 19) == {}


def test_only_the_dead_are_named() -> None:
    watch = detector()
    for now_s in range(10):
        assert watch.observe({"dead": 3, "alive": now_s}, now_s) == {}
    assert watch.observe({"dead": 3, "alive": 10}, 10) == {"dead": 3}


def test_an_own_heartbeat_that_stands_still_shows_that_nobody_can_send_one() -> None:
    own = OwnHeartbeat(LEASE_S)
    assert not own.stands(7, 0)
    assert not own.stands(7, LEASE_S / 3)
    assert own.stands(7, LEASE_S * 0.6)
    assert not own.stands(8, LEASE_S * 0.7)


def test_a_worker_without_a_heartbeat_of_its_own_still_observes_the_others() -> None:
    own = OwnHeartbeat(LEASE_S)
    assert not own.stands(None, 0)
    assert not own.stands(None, 10 * LEASE_S)
