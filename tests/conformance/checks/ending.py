"""How a stream ends, and what a viewer meets that comes back afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from tests.conformance.kit import Kit
from tests.conformance.viewer import Failed


async def closes(kit: Kit) -> None:
    """After the job's last event the server ends the stream"""
    job = await kit.adapter.start(10, 20)
    viewer = kit.viewer(job)
    try:
        async with viewer.stream() as stream:
            async for frame in stream:
                viewer.accept(frame)
                if viewer.ended:
                    break
            await asyncio.wait_for(_rest(stream.chunks()), kit.patience_s)
    except TimeoutError:
        raise Failed(f"still open {kit.patience_s:.0f} s after the last event") from None
    if not viewer.ended:
        raise Failed("it was closed before the last event")


async def stops_an_event_source(kit: Kit) -> None:
    """An EventSource that comes back after the end is told by 204 to stop, or it would come for ever"""
    recorded = await kit.recorded()
    viewer = kit.viewer(recorded.job, cursor=recorded.frames[-1].id)
    try:
        async with asyncio.timeout(kit.patience_s):
            await viewer.read()
    except TimeoutError:
        raise Failed(f"200, and then nothing for {kit.patience_s:.0f} s: a page waits for what never comes") from None
    if viewer.text:
        raise Failed(f"200, and text again: {viewer.text[:20]!r}")
    if viewer.status != 204:
        raise Failed(f"{viewer.status} and the end of the stream: it comes back for ever")


async def resumes_after_the_end(kit: Kit) -> None:
    """A viewer that lost its connection in the middle, and comes back after the end, has the rest and the end"""
    recorded = await kit.recorded()
    viewer = kit.viewer(recorded.job, first_gateway=1)
    for known in recorded.frames[: len(recorded.frames) // 3]:
        viewer.accept(known)
    await viewer.finish()
    viewer.must_say(recorded.text)


async def _rest(chunks: AsyncIterator[bytes]) -> None:
    async for _ in chunks:
        pass
