"""Viewers that lose their connection, move, or come late: what they have in the end is what the job said."""

from __future__ import annotations

import asyncio
import random

from tests.conformance.adapter import NotOffered
from tests.conformance.kit import Kit, Recorded
from tests.conformance.viewer import Failed, Viewer

OFFSETS = 60
LIVE = (150, 15.0)  # tokens, and ms between two


async def cut_at_bytes(kit: Kit) -> str:
    """Cut at many byte offsets of a replay, a viewer has the whole text, no event twice"""
    recorded = await kit.recorded()
    step = max(1, len(recorded.body) // OFFSETS)
    offsets = range(1, len(recorded.body), step)
    for offset in offsets:
        viewer = kit.viewer(recorded.job, first_gateway=offset)
        await viewer.read(cut_after=offset)
        await viewer.finish()
        viewer.must_say(recorded.text)
    return f"{len(offsets)} offsets"


async def cut_inside_a_frame(kit: Kit) -> str:
    """Cut at every byte of one event, a viewer has every event once, byte for byte"""
    recorded = await kit.recorded()
    number = len(recorded.frames) // 2
    begin, end = await _bounds(kit, recorded, number)
    for offset in range(begin, end + 1):
        viewer = kit.viewer(recorded.job, exact=True, first_gateway=offset)
        await viewer.read(cut_after=offset)
        await viewer.finish()
        _must_equal(viewer, recorded)
    return f"{end - begin + 1} offsets"


async def _bounds(kit: Kit, recorded: Recorded, number: int) -> tuple[int, int]:
    """How many bytes of the body hold so many events, and one more."""
    viewer = kit.viewer(recorded.job, exact=True)
    frames, ends, position = 0, [0] * (number + 2), 0
    async with viewer.stream() as stream:
        async for chunk in stream.chunks():
            for byte in chunk:
                position += 1
                frames += len(stream.parser.feed(bytes([byte])))
                if frames > number:
                    return ends[number], position
                ends[frames] = ends[frames] or position
    raise Failed(f"the replay had {frames} events, the viewer before {len(recorded.frames)}")


async def cut_after_every_event(kit: Kit) -> str:
    """Cut after every single event, a viewer has every event once, byte for byte"""
    recorded = await kit.recorded()
    viewer = kit.viewer(recorded.job, exact=True)
    while not viewer.ended and viewer.connections <= len(recorded.frames):
        had = len(viewer.frames)
        await viewer.read(events=1)
        if len(viewer.frames) == had and not viewer.ended:
            raise Failed(f"from {viewer.cursor}, event {had} of {len(recorded.frames)}, nothing more came")
    _must_equal(viewer, recorded)
    return f"{viewer.connections} connections"


async def from_every_event(kit: Kit) -> str:
    """The id of every event is a cursor from which the rest of the text comes"""
    recorded = await kit.recorded()
    for number, frame in enumerate(recorded.frames[:-1]):
        if not frame.id:
            raise Failed(f"event {number} carries no id")
        viewer = kit.viewer(recorded.job)
        for known in recorded.frames[: number + 1]:
            viewer.accept(known)
        await viewer.finish()
        viewer.must_say(recorded.text)
    return f"{len(recorded.frames) - 1} cursors"


async def hop(kit: Kit) -> str:
    """While a job runs, a viewer that is cut and goes from gateway to gateway misses nothing"""
    if len(kit.adapter.urls) < 2:
        raise NotOffered("the adapter names one gateway only")
    job = await kit.adapter.start(*LIVE)
    still, hopping = kit.viewer(job, exact=True), kit.viewer(job, exact=True)
    watching = asyncio.create_task(still.finish())
    chance = random.Random(1)
    try:
        while not hopping.ended:
            await hopping.read(events=chance.randint(1, 6))
        await watching
    finally:
        watching.cancel()
    if hopping.told() != still.told():
        raise Failed(f"it was told {len(hopping.frames)} events, one that stayed {len(still.frames)}")
    return f"{hopping.connections} connections"


async def cut_live(kit: Kit) -> str:
    """While a job runs, a viewer that is cut in the middle of events has the whole text"""
    job = await kit.adapter.start(*LIVE)
    still, cut = kit.viewer(job), kit.viewer(job)
    watching = asyncio.create_task(still.finish())
    chance = random.Random(2)
    try:
        while not cut.ended:
            await cut.read(cut_after=chance.randint(150, 900))
        await watching
    finally:
        watching.cancel()
    cut.must_say(still.text)
    return f"{cut.connections} connections"


async def join_late(kit: Kit) -> None:
    """A viewer that joins in the middle, and one that joins after the end, have the text from its beginning"""
    job = await kit.adapter.start(*LIVE)
    first = kit.viewer(job)
    await first.read(events=40)
    late = await kit.viewer(job, first_gateway=1).finish()
    await first.finish()
    late.must_say(first.text)
    afterwards = await kit.viewer(job, first_gateway=1).finish()
    afterwards.must_say(first.text)


async def agree(kit: Kit) -> str:
    """Two viewers, each on a gateway of its own, see the same ids with the same bytes"""
    job = await kit.adapter.start(*LIVE)
    viewers = [kit.viewer(job, exact=True, first_gateway=number) for number in (0, 1)]
    await asyncio.gather(*(viewer.finish() for viewer in viewers))
    if viewers[0].told() != viewers[1].told():
        raise Failed(f"they were told {len(viewers[0].frames)} and {len(viewers[1].frames)} events, which differ")
    return f"{len(viewers[0].frames)} events"


def _must_equal(viewer: Viewer, recorded: Recorded) -> None:
    wanted = [(frame.id, frame.data) for frame in recorded.frames]
    if viewer.told() != wanted:
        differing = sum(one != other for one, other in zip(viewer.told(), wanted, strict=False))
        raise Failed(f"{len(viewer.frames)} events for {len(wanted)}, {differing} of them other ones")
