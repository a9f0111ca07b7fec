"""A client of AG-UI that resumes by the id of its last event loses and doubles none, across takeovers."""

from __future__ import annotations

from pathlib import Path

from tests.support.ag_ui_cuts import play


async def test_random_cuts_lose_and_double_nothing(redis_url: str, tmp_path: Path) -> None:
    """`scripts/cuts` has the long form."""
    counts = await play(20, 7, tmp_path, redis_url)
    assert counts.clean, counts
