"""The short form of `scripts/flood revocations`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.support.revocation_flood import measure, report


@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
async def test_the_flood_of_revocations_times_every_call_and_the_reads_of_another_tenant(tmp_path: Path) -> None:
    found = await measure(tmp_path, revocations=2000, calls=100, read_s=0.2)
    assert len(found.revoked) == 100
    assert found.alone
    assert found.beside
    assert found.used.sent > 0
    assert len(report(found).splitlines()) == 4
