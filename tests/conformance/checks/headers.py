"""What the answer says of itself, to browsers, caches and proxies."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from tests.conformance.adapter import NotOffered
from tests.conformance.kit import Kit
from tests.conformance.viewer import Failed, Viewer
from tests.support.sse import SseStream


async def content_type(kit: Kit) -> None:
    """A stream is answered with 200 and text/event-stream"""
    async with await _answer(kit) as stream:
        if stream.status != 200:
            raise Failed(f"answered with {stream.status}")
        if stream.headers.get("content-type", "").partition(";")[0] != "text/event-stream":
            raise Failed(f"Content-Type: {stream.headers.get('content-type')}")


async def caching(kit: Kit) -> None:
    """Caches and proxies are told to keep their hands off it: no-cache and no-transform"""
    async with await _answer(kit) as stream:
        said = stream.headers.get("cache-control", "")
        missing = [word for word in ("no-cache", "no-transform") if word not in said and "no-store" not in said]
        if missing:
            raise Failed(f"Cache-Control lacks {' and '.join(missing)}: {said or 'there is none'}")


async def buffering(kit: Kit) -> None:
    """Proxies are told not to buffer, and no stream of a running job is compressed"""
    job = await kit.adapter.start(3, 120_000)
    try:
        async with _stream(kit, job.path) as stream:
            if stream.headers.get("x-accel-buffering") != "no":
                raise Failed("no X-Accel-Buffering: no")
            if "content-encoding" in stream.headers:
                raise Failed(f"Content-Encoding: {stream.headers['content-encoding']}")
    finally:
        with suppress(NotOffered):
            await kit.adapter.cancel(job)


async def pings(kit: Kit) -> None:
    """A stream on which nothing happens is kept alive by comments, which are no events"""
    job = await kit.adapter.start(3, 120_000)
    try:
        await _hear_a_comment(kit, kit.viewer(job))
    finally:
        with suppress(NotOffered):
            await kit.adapter.cancel(job)


async def _hear_a_comment(kit: Kit, viewer: Viewer) -> None:
    try:
        async with asyncio.timeout(kit.adapter.silence_s), viewer.stream() as stream:
            async for chunk in stream.chunks():
                for frame in stream.parser.feed(chunk):
                    viewer.accept(frame)
                if stream.parser.comments and viewer.text:
                    return
    except TimeoutError:
        raise Failed(f"not a byte in {kit.adapter.silence_s:.0f} s between two events") from None
    raise Failed("the stream ended before the job did")


async def _answer(kit: Kit) -> SseStream:
    return _stream(kit, (await kit.recorded()).job.path)


def _stream(kit: Kit, path: str) -> SseStream:
    """A stream for a client that would take compressed bytes too."""
    headers = {**kit.adapter.headers, "Accept-Encoding": "gzip, br"}
    return SseStream(kit.adapter.urls[0] + path, headers=headers)
