from __future__ import annotations

import pytest

from bench.figures import quantile, ratio, short, slope, spread


def test_a_quantile_is_a_value_that_occurred() -> None:
    values = [float(number) for number in range(1, 101)]
    assert quantile(values, 0.5) == 50
    assert quantile(values, 0.99) == 99
    assert quantile(values, 1) == 100
    assert quantile(values, 0) == 1


def test_the_p99_of_a_few_values_is_the_worst_of_them() -> None:
    assert quantile([3.0, 1.0, 2.0], 0.99) == 3


def test_no_values_have_no_quantile() -> None:
    with pytest.raises(ValueError, match="no values"):
        quantile([], 0.5)


def test_the_spread_of_one_run_is_none() -> None:
    assert spread([5.0]) == 0
    assert spread([8.0, 10.0, 12.0]) == pytest.approx(0.2)


def test_a_ratio_to_nothing_says_nothing() -> None:
    assert ratio(3.0, 0.0) is None
    assert ratio(3.0, 2.0) == 1.5


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0"), (0.0123, "0.012"), (4.5678, "4.57"), (45.678, "45.7"), (456.78, "457"), (45678, "45,700")],
)
def test_figures_have_three_digits_that_matter(value: float, text: str) -> None:
    assert short(value) == text


def test_a_slope_is_not_moved_by_a_few_wild_values() -> None:
    points = [(float(x), 100 + 0.5 * x) for x in range(20)]
    wild = [(x, 900.0 if x in (3, 17) else y) for x, y in points]
    assert slope(points) == pytest.approx(0.5)
    assert slope(wild) == pytest.approx(0.5, abs=0.1)


def test_a_single_point_has_no_slope() -> None:
    assert slope([(1.0, 5.0)]) == 0
