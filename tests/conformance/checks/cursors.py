"""Cursors that are none, and one that lies beyond everything."""

from __future__ import annotations

import asyncio
from collections import defaultdict

from tests.conformance.kit import Kit
from tests.conformance.viewer import Failed

RUNNING = (400, 25.0)  # tokens, and ms between two


async def malformed(kit: Kit) -> str:
    """A cursor that is none is refused, and never taken for "from the start" or "from now" in silence"""
    wanted = kit.adapter.refused_with
    wrong: dict[str, list[str]] = defaultdict(list)
    for cursor in kit.adapter.bad_cursors:
        answered = await _answer_to(kit, cursor)
        if answered != str(wanted) and (wanted is not None or not answered.startswith("4")):
            wrong[answered].append(f"`{cursor[:8]}`")
    if wrong:
        raise Failed("; ".join(f"{', '.join(cursors)}: {answered}" for answered, cursors in wrong.items()))
    return f"{len(kit.adapter.bad_cursors)} cursors"


async def _answer_to(kit: Kit, cursor: str) -> str:
    """What a finished job's stream does with a cursor: a status, or a few words."""
    recorded = await kit.recorded()
    viewer = kit.viewer(recorded.job, cursor=cursor)
    try:
        async with asyncio.timeout(kit.patience_s), viewer.stream() as stream:
            if stream.status != 200:
                return str(stream.status)
            async for frame in stream:
                return "tells of a loss" if kit.adapter.tells_of_loss(frame) else "from the start"
    except TimeoutError:
        return "200 and silence"
    except (OSError, EOFError):
        return "200 and a broken connection"
    return "200 and the end"


async def beyond_the_end(kit: Kit) -> None:
    """A cursor beyond all that is known is refused, or its viewer is told of the loss"""
    job = await kit.adapter.start(*RUNNING)
    running = kit.viewer(job, exact=True)
    await running.read(events=5)
    viewer = kit.viewer(job, cursor=kit.adapter.beyond(running.cursor or ""))
    try:
        async with asyncio.timeout(kit.patience_s), viewer.stream() as stream:
            if 400 <= stream.status < 500:
                return
            if stream.status != 200:
                raise Failed(f"answered with {stream.status}")
            async for frame in stream:
                if kit.adapter.tells_of_loss(frame):
                    return
                raise Failed(f"it is told {frame.data[:40]!r} and no word of a loss")
    except TimeoutError:
        raise Failed(f"silence for {kit.patience_s:.0f} s, while the job goes on") from None
    raise Failed("the stream ended without a word")
