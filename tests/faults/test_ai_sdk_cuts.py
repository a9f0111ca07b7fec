"""A client of the AI SDK that counts chunks loses none and doubles none, wherever it is cut, across takeovers."""

from __future__ import annotations

from pathlib import Path

from tests.support.ai_sdk_cuts import play


async def test_random_cuts_lose_and_double_nothing(redis_url: str, tmp_path: Path) -> None:
    """`scripts/cuts` has the long form."""
    counts = await play(40, 7, tmp_path, redis_url)
    assert counts.clean, counts
