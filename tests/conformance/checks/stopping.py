"""To leave is not to cancel; to cancel is."""

from __future__ import annotations

import asyncio

from tests.conformance.kit import Kit
from tests.conformance.viewer import Failed

ENDLESS = (100_000, 20.0)  # tokens, and ms between two
STOP_S = 15.0


async def leaving(kit: Kit) -> None:
    """A job goes on when its only viewer leaves, and whoever comes later has all of it"""
    job = await kit.adapter.start(100, 15)
    viewer = kit.viewer(job)
    await viewer.read(events=10)
    had = len(viewer.text)
    later = await kit.viewer(job, first_gateway=1).finish()
    await viewer.finish()
    viewer.must_say(later.text)
    if job.text is not None:
        viewer.must_say(job.text)
    if len(viewer.text) <= had:
        raise Failed("the job said nothing any more")


async def cancel(kit: Kit) -> None:
    """A cancelled job ends at once for all its viewers, with one and the same text"""
    job = await kit.adapter.start(*ENDLESS)
    watching, resuming = kit.viewer(job), kit.viewer(job, first_gateway=1)
    await resuming.read(events=10)
    watch = asyncio.create_task(watching.finish())
    try:
        await kit.adapter.cancel(job)
        async with asyncio.timeout(STOP_S):
            await asyncio.gather(watch, resuming.finish())
    except TimeoutError:
        raise Failed(f"no end within {STOP_S:.0f} s of the cancel") from None
    finally:
        watch.cancel()
    resuming.must_say(watching.text)


async def cancel_again(kit: Kit) -> None:
    """To cancel a job again, or one that has ended, changes nothing that was told"""
    recorded = await kit.recorded()
    await kit.adapter.cancel(recorded.job)
    await kit.adapter.cancel(recorded.job)
    viewer = await kit.viewer(recorded.job, exact=True).finish()
    if viewer.told() != [(frame.id, frame.data) for frame in recorded.frames]:
        raise Failed(f"the job has {len(viewer.frames)} events now, and had {len(recorded.frames)}")
