"""The short form of tests.support.openai_cuts."""

from __future__ import annotations

import pytest

from tests.support.openai_cuts import CLIENTS, cut_often


@pytest.mark.parametrize("client", CLIENTS)
async def test_a_client_that_is_cut_at_random_moments_loses_and_doubles_nothing(redis_url: str, client: str) -> None:
    count = await cut_often(redis_url, client, 20)
    assert (count.lost, count.doubled, count.wrong) == (0, 0, 0), count
    assert count.cuts >= 20
