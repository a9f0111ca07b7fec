"""A server that cannot stream just now."""

from __future__ import annotations

import asyncio

from tests.conformance.kit import Kit
from tests.conformance.viewer import Failed


async def come_again(kit: Kit) -> str:
    """When it cannot stream it answers 200 with `retry:` and ends: anything else stops an EventSource for good"""
    recorded = await kit.recorded()
    viewer = kit.viewer(recorded.job)
    await viewer.read(events=1)
    async with kit.adapter.refusing():
        await _refused(kit, viewer.cursor)
    await viewer.finish()
    viewer.must_say(recorded.text)
    return "and serves again afterwards"


async def _refused(kit: Kit, cursor: str | None) -> None:
    recorded = await kit.recorded()
    viewer = kit.viewer(recorded.job, cursor=cursor)
    try:
        async with asyncio.timeout(kit.adapter.silence_s):
            await viewer.read()
    except TimeoutError:
        raise Failed("it neither serves nor refuses") from None
    if viewer.frames:
        raise Failed(f"it was told {viewer.frames[0].data[:40]!r}, which it had")
    if viewer.retry_ms is None:
        raise Failed(f"{viewer.status}, but no `retry:` that says when to come back")
