"""What the takeover's figures are summed up to."""

from __future__ import annotations

from bench.report import Row
from bench.takeover import cases, summary


def row(name: str, *silences_s: float) -> Row:
    return Row(name, [{"silence_s": silence_s} for silence_s in silences_s])


def test_the_ratio_of_the_defaults_is_said_to_be_measured_only_when_it_was() -> None:
    ours = row("Holdfast, default settings, killed", 9.0, 10.0, 11.0)
    assert "31 times as long: 310 s (by its law" in summary([ours, row("stock arq, job_timeout 30 s", 40)])
    assert "30 times as long: 300 s (measured)" in summary([ours, row("stock arq, job_timeout 300 s (default)", 300)])


def test_the_limits_are_those_of_a_death_of_a_lease_and_of_a_timeout() -> None:
    laws = {case.name: case.law_s for case in cases(with_default=True)}
    assert laws["Holdfast, default settings, killed"] == laws["Holdfast, default settings, segfault"] == 3.5
    assert laws["Holdfast, lease 2 s, frozen"] == 3
    assert laws["stock arq, job_timeout 30 s"] == 40
    assert laws["stock arq, job_timeout 300 s (default)"] == 310
