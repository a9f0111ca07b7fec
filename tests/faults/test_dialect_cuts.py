"""Clients on connections that are cut at random moments: a part of the short form of scripts/cuts."""

from __future__ import annotations

from tests.support.client_cuts import start
from tests.support.dialect_cuts import cut_followers
from tests.support.process import Processes

NAMES = ("sse", "ndjson", "WebSocket, Python", "OpenAI, Python", "OpenAI, Node")


async def test_clients_that_are_cut_at_random_moments_lose_and_double_nothing(
    redis_url: str, processes: Processes
) -> None:
    gateway_url = await start(processes, redis_url)
    found = await cut_followers(NAMES, gateway_url, redis_url, cuts=10, seed=7)
    assert {name: counts for name, counts in found.items() if not counts.clean} == {}
    assert all(counts.cuts >= 10 for counts in found.values())
