"""When the client tries again: delays grow, obey the server, differ at random, and come to an end."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
from holdfast.client.retries import Retries


class Clock:
    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


def retries(patience_s: float = math.inf, *, uniform: Callable[[float, float], float] = min, **more: Any) -> Retries:
    return Retries(patience_s, now=more.pop("now", Clock()), uniform=uniform, **more)


def test_delays_double_up_to_half_a_minute() -> None:
    tries = retries()
    assert [tries.failed() for _ in range(7)] == [1, 2, 4, 8, 16, 30, 30]


def test_after_a_success_they_are_short_again() -> None:
    tries = retries()
    assert [tries.failed(), tries.failed()] == [1, 2]
    tries.succeeded()
    assert tries.failed() == 1


def test_chance_lengthens_a_delay_by_up_to_a_half_and_never_shortens_it() -> None:
    delays = [Retries(math.inf).failed() or 0 for _ in range(200)]
    assert 1 <= min(delays) < 1.1
    assert 1.4 < max(delays) <= 1.5


@pytest.mark.parametrize(("hint_s", "delay_s"), [(3.0, 3.0), (0.0, 0.05), (1e9, 300.0)])
def test_the_reconnection_time_of_the_server_is_the_first_delay_within_bounds(hint_s: float, delay_s: float) -> None:
    tries = retries()
    tries.suggest(hint_s)
    assert tries.failed() == delay_s


def test_a_retry_after_lengthens_one_delay() -> None:
    tries = retries()
    assert [tries.failed(20), tries.failed()] == [20, 2]


def test_it_gives_up_where_the_next_try_would_be_after_its_patience() -> None:
    clock = Clock()
    tries = retries(10, now=clock)
    assert tries.failed() == 1
    clock.at = 8
    assert tries.failed() == 2
    clock.at = 9
    assert tries.failed() is None


def test_patience_begins_with_the_first_failure_after_a_success() -> None:
    clock = Clock()
    tries = retries(10, now=clock)
    tries.failed()
    tries.succeeded()
    clock.at = 100
    assert tries.failed() == 1
