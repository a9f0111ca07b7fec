"""The short form of scripts/simulate-gateways."""

from __future__ import annotations

from holdfast.shared.redis.client import connect

from bench.gateways import COLUMNS, Load, simulate


async def test_every_gateway_receives_every_event_of_its_sessions_and_nothing_is_left(redis_url: str) -> None:
    line = await simulate(redis_url, 3, Load(sessions=12, active=6, rate=20, seconds=0.5, spread=2))
    figures = dict(zip(COLUMNS, line.strip("| ").split(" | "), strict=True))
    assert figures["lost"] == "0"
    assert float(figures["events/s"]) > 0
    redis = connect(redis_url, max_connections=1)
    assert await redis.keys("*bench*") == []
    await redis.aclose()
