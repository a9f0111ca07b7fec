"""Statistics of repeated runs. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from itertools import combinations


def quantile(values: Sequence[float], q: float) -> float:
    """The nearest-rank quantile: a value that occurred. `q` from 0 to 1."""
    if not values:
        raise ValueError("no values")
    ordered = sorted(values)
    rank = max(1, -(-len(ordered) * round(q * 1_000_000) // 1_000_000))
    return ordered[min(rank, len(ordered)) - 1]


def median(values: Sequence[float]) -> float:
    return statistics.median(values)


def spread(values: Sequence[float]) -> float:
    """Half the distance between the extremes, relative to the median; 0 for a single value."""
    middle = median(values)
    return (max(values) - min(values)) / 2 / middle if middle else 0.0


def slope(points: Sequence[tuple[float, float]]) -> float:
    """How much y grows for each x: the median over all pairs (Theil and Sen), which a few wild values do not move. 0
    when there are no two points apart."""
    pairs = combinations(sorted(points), 2)
    slopes = [(y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in pairs if x2 > x1]
    return median(slopes) if slopes else 0.0


def ratio(value: float, base: float) -> float | None:
    """Return value / base; None where that is meaningless."""
    return value / base if base else None


def short(value: float) -> str:
    """Three significant digits, thousands grouped: 0.123, 4.56, 78.9, 12,300."""
    if value == 0:
        return "0"
    if abs(value) >= 1000:
        digits = len(str(int(abs(value)))) - 3
        return f"{round(value, -digits):,.0f}"
    decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2 if abs(value) >= 1 else 3
    return f"{value:.{decimals}f}"
