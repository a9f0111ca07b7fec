from __future__ import annotations

import pytest

from bench.search import highest


def carrying(limit: float, asked: list[float]) -> float:
    def carries(rate: float) -> bool:
        asked.append(rate)
        return rate <= limit

    return highest(carries, 1000, steps=3, ceiling=64_000)


@pytest.mark.parametrize("limit", [150.0, 999.0, 1000.0, 5300.0, 40_000.0])
def test_the_rate_found_is_carried_and_close_below_the_limit(limit: float) -> None:
    found = carrying(limit, [])
    assert found <= limit < found * 2 ** (1 / 8) * 1.001


def test_a_server_that_carries_all_is_asked_no_more_than_the_ceiling() -> None:
    asked: list[float] = []
    assert carrying(1e9, asked) == 64_000
    assert max(asked) == 64_000


def test_a_server_that_carries_nothing_ends_the_search() -> None:
    assert carrying(0, []) == 0
