"""A stream that its gateway cuts is cut for the viewer too, and a complete one ends cleanly, whatever is in front.

`scripts/stream-ends` measures all dialects and clients (docs/dialects/stream-ends.md)."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from holdfast.shared.log.log_replies import Attempt

from tests.stream_ends.dialects import Request
from tests.stream_ends.stage import WAYS, Way, front
from tests.stream_ends.viewers import Curl
from tests.support.log import Session
from tests.support.process import Processes, until

pytestmark = pytest.mark.skipif(
    None in (shutil.which("curl"), shutil.which("openssl")), reason="curl or openssl is not installed"
)

CUT = {False: 18, True: 92}  # curl's exit codes: a body without its end, a reset stream of HTTP/2


async def test_a_proxy_passes_on_whether_a_stream_is_complete(
    redis_url: str, session: Session, processes: Processes, tmp_path: Path
) -> None:
    ways = [way for way in WAYS if way.proxy != "nginx"]
    gateway = processes.gateway(redis_url)
    await gateway.until_ready()
    urls = [await _front(way, processes, tmp_path / str(number), gateway.url) for number, way in enumerate(ways)]

    async def read(job_id: str) -> tuple[Attempt, list[Curl]]:
        """Begin to read a job that has written a word. Returns the attempt and the viewers."""
        attempt = await session.started(job_id)
        await session.append(attempt, 1, "Hello")
        request = Request("/ai-sdk/v7/scripted/s/stream")
        opened = [Curl.open(url, request, tmp_path, h2=way.h2) for url, way in zip(urls, ways, strict=True)]
        viewers = list(await asyncio.gather(*opened))
        await until(lambda: all(b"Hello" in viewer.body for viewer in viewers))
        return attempt, viewers

    attempt, viewers = await read("j1")
    await session.finish(attempt, 2)
    assert [(await viewer.end()).code for viewer in viewers] == [0] * len(ways)
    assert all(viewer.body.endswith(b"data: [DONE]\n\n") for viewer in viewers)

    attempt, viewers = await read("j2")
    await session.append(attempt, 2, " again")
    await until(lambda: all(b"again" in viewer.body for viewer in viewers))
    gateway.terminate()
    assert [(await viewer.end()).code for viewer in viewers] == [CUT[way.h2] for way in ways]
    assert not any(b"[DONE]" in viewer.body for viewer in viewers)


async def _front(way: Way, processes: Processes, folder: Path, gateway_url: str) -> str:
    folder.mkdir()
    return await front(way, processes, folder, [int(gateway_url.rpartition(":")[2])])
