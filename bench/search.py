"""The highest rate that a server carries. Pure."""

from __future__ import annotations

from collections.abc import Callable

LOWEST = 1.0


def highest(carries: Callable[[float], bool], first: float, *, steps: int, ceiling: float) -> float:
    """The highest rate found at which `carries` is true, 0 where none was. Doubles or halves from `first` until the
    answer changes, then halves the interval, by ratio, `steps` times. Never asks beyond `ceiling`."""
    good, bad = _bracket(carries, first, ceiling)
    for _ in range(steps if good and bad else 0):
        middle = (good * bad) ** 0.5
        if carries(middle):
            good = middle
        else:
            bad = middle
    return good


def _bracket(carries: Callable[[float], bool], first: float, ceiling: float) -> tuple[float, float]:
    """A rate that is carried and one that is not; 0 for one that was not found."""
    rate = min(first, ceiling)
    if carries(rate):
        while rate < ceiling:
            higher = min(rate * 2, ceiling)
            if not carries(higher):
                return rate, higher
            rate = higher
        return rate, 0.0
    while rate > LOWEST:
        lower = rate / 2
        if carries(lower):
            return lower, rate
        rate = lower
    return 0.0, rate
