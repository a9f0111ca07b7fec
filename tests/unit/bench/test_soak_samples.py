from __future__ import annotations

from dataclasses import replace

import pytest

from bench.soak.samples import Sample, Samples
from bench.soak.vitals import Vitals

BEFORE = Sample(0, Vitals(70, 60, 14, 5), Vitals(60, 50, 13, 5), 1, 0, 0)


def run(grow_mib: float, *, warm_mib: float = 10, end_mib: float = 0) -> Samples:
    """A gateway of 80 MiB that grows by so much in all after the first third, where it grows by `warm_mib`."""
    levels = [80 - warm_mib * (1 - n / 20) if n < 20 else 80 + grow_mib * (n - 20) / 40 for n in range(61)]
    during = [replace(BEFORE, at_s=float(n), gateway=Vitals(mib, mib, 20, 6)) for n, mib in enumerate(levels)]
    end = replace(BEFORE, gateway=Vitals(levels[-1] + end_mib, 60, 14, 6))
    return Samples(BEFORE, during, end)


def gateway_is_flat(samples: Samples) -> bool:
    return samples.trends()[0].flat


def test_what_grows_by_no_more_than_noise_is_flat() -> None:
    assert gateway_is_flat(run(grow_mib=2))


def test_what_grows_on_after_the_warm_up_is_not_flat() -> None:
    assert not gateway_is_flat(run(grow_mib=12))


def test_growth_in_the_warm_up_does_not_count() -> None:
    assert gateway_is_flat(run(grow_mib=0, warm_mib=40))


def test_what_is_larger_when_all_have_gone_is_not_flat() -> None:
    assert not gateway_is_flat(run(grow_mib=0, end_mib=20))


@pytest.mark.parametrize(
    ("end", "left"),
    [
        (replace(BEFORE, gateway=Vitals(70, 60, 15, 5)), ["files of the gateway: 15 instead of 14"]),
        (replace(BEFORE, worker=Vitals(60, 50, 14, 5)), ["files of the worker: 14 instead of 13"]),
        (replace(BEFORE, viewers=2), ["viewers: 2 instead of 0"]),
        (replace(BEFORE, worker=Vitals(60, 50, 13, 40)), []),
    ],
)
def test_what_is_left_behind_is_named_but_for_pooled_connections(end: Sample, left: list[str]) -> None:
    assert Samples(BEFORE, [BEFORE], end).left_behind() == left


def test_the_table_has_a_row_for_each_tenth_and_one_before_and_after() -> None:
    lines = run(grow_mib=0).markdown().splitlines()
    assert len(lines) == 2 + 1 + 10 + 1
    assert len({line.count("|") for line in lines}) == 1
