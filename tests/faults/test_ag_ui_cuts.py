"""A client of AG-UI that resumes by the id of its last event loses and doubles none, across takeovers."""

from __future__ import annotations

from pathlib import Path

from tests.support.ag_ui_cuts import play


async def test_random_cuts_lose_and_double_nothing(redis_url: str, tmp_path: Path) -> None:
    """`python -m tests.support.ag_ui_cuts 1000` is the long form."""
    for line in await play(20, 7, tmp_path, redis_url):
        assert line.endswith(" 0 lost, 0 doubled"), line
