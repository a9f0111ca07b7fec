"""The short form of scripts/soak. Whether memory is flat shows only over hours."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from bench.soak.soak import Plan, soak


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.timeout(180)
async def test_no_event_and_no_job_is_lost_and_no_file_or_viewer_is_left_while_sessions_come_and_go(
    tmp_path: Path,
) -> None:
    report = await soak(Plan(seed=5, seconds=12, to_the_last_key=False), tmp_path)
    assert report.tally.violations == []
    assert report.samples.left_behind() == []
    assert report.tally.fates.total() > 5
