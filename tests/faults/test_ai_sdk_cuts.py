"""A client of the AI SDK that counts chunks loses none and doubles none, wherever it is cut, across takeovers."""

from __future__ import annotations

from pathlib import Path

from tests.support.ai_sdk_cuts import play


async def test_random_cuts_lose_and_double_nothing(redis_url: str, tmp_path: Path) -> None:
    """`python -m tests.support.ai_sdk_cuts 1000` is the long form."""
    for line in await play(40, 7, tmp_path, redis_url):
        assert line.endswith(" 0 lost, 0 doubled"), line
