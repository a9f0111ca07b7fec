"""F29 and its kin: what happens to a Redis Cluster under streaming jobs. The short form of scripts/failover."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.failover import Plan, run

# Short: each node takes the others for failed after 1 s.
SHORT = {"jobs": 12, "viewers": 24, "seconds": 7, "interval_ms": 50, "timeout_ms": 1000, "slots": 200}


@pytest.mark.timeout(180)
@pytest.mark.parametrize("scenario", ["killed", "frozen", "planned", "cut", "reshard"])
async def test_f29_no_event_is_lost_without_a_gap_or_doubled(scenario: str, tmp_path: Path) -> None:
    plan = Plan(scenario, **SHORT)
    report = await run(plan, tmp_path)
    assert report.violations == [], "\n".join([report.line(plan), *report.violations])
    assert report.lost == report.doubled == 0
    assert report.attempts == plan.jobs
    if scenario != "cut":  # only then something was lost
        assert not report.gaps
