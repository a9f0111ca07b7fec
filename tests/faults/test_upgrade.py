"""The short form of scripts/upgrade, with this release in both places. F50."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.chaos import Plan
from tests.support.releases import this_release
from tests.support.upgrade import GATEWAYS, WORKERS, play, scenarios


@pytest.mark.timeout(120)
async def test_no_event_is_lost_or_doubled_while_all_processes_are_replaced(tmp_path: Path) -> None:
    old, new = this_release()._replace(name="old"), this_release()
    [rolling] = [one for one in scenarios(old, new) if one.name == "rolling upgrade"]
    findings = await play(rolling, Plan(seed=4, minutes=0.05, jobs=8, pace=2), tmp_path)
    assert findings.clean, "\n".join(findings.lines(rolling.name))
    assert (findings.jobs, findings.replaced) == (8, GATEWAYS + WORKERS)
    assert findings.events > 0
