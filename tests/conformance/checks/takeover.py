"""The worker that runs a job is killed while people watch."""

from __future__ import annotations

import asyncio
import time

from tests.conformance.kit import Kit, Takeover
from tests.conformance.viewer import Failed

STEADY = (150, 40.0)  # tokens, and ms between two
KILL_AFTER_EVENTS = 30


async def goes_on(kit: Kit) -> str:
    """Another worker takes the job over, and the stream goes on by itself"""
    takeover = await _takeover(kit)
    if takeover.silence_s is None:
        raise Failed(takeover.failure)
    if takeover.silence_s > kit.adapter.takeover_s:
        raise Failed(f"silence for {takeover.silence_s:.1f} s after the kill")
    return f"after {takeover.silence_s:.1f} s"


async def right_text(kit: Kit) -> None:
    """Who watched all along has the right text in the end: what the dead worker had said is taken back"""
    takeover = await _takeover(kit)
    if not takeover.watcher.ended:
        raise Failed(takeover.failure)
    takeover.watcher.must_say(await _whole(kit, takeover))


async def right_text_later(kit: Kit) -> None:
    """Who comes after the takeover has the right text too, from the start and from a cursor of the dead worker"""
    takeover = await _takeover(kit)
    if not takeover.watcher.ended:
        raise Failed(takeover.failure)
    whole = await _whole(kit, takeover)
    later = await kit.viewer(takeover.job, first_gateway=1).finish()
    later.must_say(whole)
    resumed = kit.viewer(takeover.job)
    for known in takeover.watcher.frames[: KILL_AFTER_EVENTS // 2]:
        resumed.accept(known)
    (await resumed.finish()).must_say(whole)


async def _whole(kit: Kit, takeover: Takeover) -> str:
    """What an undisturbed job of the kind says."""
    if takeover.job.text is not None:
        return takeover.job.text
    undisturbed = await kit.adapter.start(*STEADY)
    return (await kit.viewer(undisturbed).finish()).text


async def _takeover(kit: Kit) -> Takeover:
    """Kill once for all checks, and watch to the end."""
    if kit.takeover is None:
        kit.takeover = await _kill_and_watch(kit)
    return kit.takeover


async def _kill_and_watch(kit: Kit) -> Takeover:
    job = await kit.adapter.start(*STEADY)
    watcher = kit.viewer(job, exact=True)
    await watcher.read(events=KILL_AFTER_EVENTS)
    await kit.adapter.kill_worker(job)
    killed_s = time.monotonic()
    silence_s: float | None = None
    watch = asyncio.create_task(watcher.finish())
    try:
        await asyncio.sleep(1)  # what the dead one had written is still on its way
        had = len(watcher.frames)
        while not watch.done():
            if len(watcher.frames) > had:
                silence_s = silence_s or time.monotonic() - killed_s
            await asyncio.sleep(0.02)
        await watch
    except Failed as failed:
        return Takeover(job, watcher, silence_s, str(failed))
    return Takeover(job, watcher, silence_s, "")
