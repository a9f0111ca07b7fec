"""The short form of scripts/chaos."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chaos import Plan, run


@pytest.mark.timeout(240)
@pytest.mark.parametrize("seed", [7])
async def test_no_event_is_lost_doubled_or_reordered_and_each_job_ends_once_whatever_is_killed(
    seed: int, tmp_path: Path
) -> None:
    plan = Plan(seed, minutes=0.3, jobs=40)
    report = await run(plan, tmp_path)
    assert report.violations == [], "\n".join(report.lines(plan))
    assert report.ends.total() == plan.jobs
    assert report.faults.total() > 2
