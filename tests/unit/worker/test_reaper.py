"""Who is dead, told from counts alone. The clock is a number."""

from __future__ import annotations

from holdfast.worker.reaper import Vigil

LEASE_S = 10.0


def vigil() -> Vigil:
    return Vigil(LEASE_S, late_s=2.5)


def looks(watch: Vigil, counts: dict[str, int], first_s: int, last_s: int) -> dict[str, int]:
    """Look once a second with the same counts; answers what the last look said."""
    dead: dict[str, int] = {}
    for now_s in range(first_s, last_s + 1):
        dead = watch.look(counts, now_s)
    return dead


def test_a_count_that_does_not_move_for_the_lease_is_a_dead_worker() -> None:
    watch = vigil()
    assert looks(watch, {"w": 7}, 0, 9) == {}
    assert watch.look({"w": 7}, 10) == {"w": 7}


def test_a_count_that_moves_is_alive_however_slowly() -> None:
    watch = vigil()
    for beat in range(20):
        assert looks(watch, {"w": beat}, beat * 9, beat * 9 + 8) == {}


def test_a_failed_look_starts_the_series_again() -> None:
    watch = vigil()
    looks(watch, {"w": 7}, 0, 9)
    watch.restart()
    assert looks(watch, {"w": 7}, 10, 19) == {}
    assert watch.look({"w": 7}, 20) == {"w": 7}


def test_a_late_look_starts_the_series_again() -> None:
    watch = vigil()
    looks(watch, {"w": 7}, 0, 5)
    assert watch.look({"w": 7}, 25) == {}  # Redis stood still for 20 s: nobody could count up
    assert looks(watch, {"w": 7}, 26, 34) == {}
    assert watch.look({"w": 7}, 35) == {"w": 7}


def test_a_worker_that_was_away_is_seen_anew() -> None:
    watch = vigil()
    looks(watch, {"w": 7}, 0, 8)
    watch.look({}, 9)
    assert looks(watch, {"w": 7}, 10, 19) == {}


def test_only_the_dead_are_named() -> None:
    watch = vigil()
    for now_s in range(10):
        assert watch.look({"dead": 3, "alive": now_s}, now_s) == {}
    assert watch.look({"dead": 3, "alive": 10}, 10) == {"dead": 3}
