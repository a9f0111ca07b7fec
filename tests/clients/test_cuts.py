"""The client libraries on connections that are cut at random bytes: the short form of scripts/cuts."""

from __future__ import annotations

import pytest

from tests.support.client_cuts import cut_client, start
from tests.support.cut_viewers import CLIENTS
from tests.support.process import Processes


@pytest.mark.parametrize("name", sorted(CLIENTS))
async def test_cuts_lose_and_double_no_event_and_submit_no_job_twice(
    name: str, redis_url: str, processes: Processes
) -> None:
    gateway_url = await start(processes, redis_url)
    counts = await cut_client(CLIENTS[name], gateway_url, redis_url, cuts=40, seed=1, viewers=12)
    assert counts.clean, counts
    assert counts.cuts == 40
