"""F01: a client that is cut anywhere and comes back to any gateway has the log in the end, no more and no less."""

from __future__ import annotations

from dataclasses import dataclass

import httpx2
import orjson
import pytest
from holdfast.shared.keys import log_key
from holdfast.shared.redis.client import connect

from tests.support.process import Processes, until
from tests.support.sse import SseStream
from tests.support.viewer import Viewer

EVENTS = 300


@dataclass(frozen=True)
class Recorded:
    """A job of 300 events that has ended, and what the log holds of it."""

    gateways: list[str]
    path: str
    log: list[tuple[str, bytes]]

    @property
    def text(self) -> str:
        events = [orjson.loads(body) for _, body in self.log]
        return "".join(event["text"] for event in events if event["type"] == "text.delta")

    def viewer(self, query: str, seed: int) -> Viewer:
        return Viewer(self.gateways, self.path + query, seed)

    def check(self, viewer: Viewer) -> None:
        assert [(frame.id, frame.data.encode()) for frame in viewer.frames] == self.log


@pytest.fixture
async def recorded(processes: Processes, redis_url: str) -> Recorded:
    gateways = [processes.gateway(redis_url) for _ in range(2)]
    processes.worker(redis_url)
    for gateway in gateways:
        await gateway.until_ready()
    redis = connect(redis_url, max_connections=1)
    async with httpx2.AsyncClient(base_url=gateways[0].url, trust_env=False) as client:

        async def offered() -> bool:
            return "scripted" in (await client.get("/v1/agents")).text

        await until(offered)
        body = {"agent": "scripted", "input": "go", "options": {"tokens": EVENTS - 2, "interval_ms": 0}}
        job = (await client.post("/v1/sessions/recorded/jobs", json=body)).json()

        async def ended() -> bool:
            state = (await client.get(f"/v1/sessions/recorded/jobs/{job['job_id']}")).json()
            return bool(state["status"] == "completed")

        await until(ended)
    found = await redis.xrange(log_key("recorded"))
    await redis.aclose()
    log = [(name.decode(), next(iter(values.values()))) for name, values in found]
    assert len(log) == EVENTS
    return Recorded([gateway.url for gateway in gateways], job["events_url"], log)


async def frame_bounds(recorded: Recorded, number: int) -> tuple[int, int]:
    """Where one frame begins and ends in the body of the raw stream."""
    async with SseStream(recorded.gateways[0] + recorded.path + "?raw=true") as stream:
        async for _ in stream:
            pass
    ends = [at + 2 for at in range(len(stream.body)) if stream.body[at : at + 2] == b"\n\n"]
    return ends[number - 1], ends[number]


async def test_cut_at_every_byte_of_a_frame_the_union_equals_the_log(recorded: Recorded) -> None:
    begin, end = await frame_bounds(recorded, 150)
    assert end - begin > 80
    for offset in range(begin, end + 1):
        viewer = recorded.viewer("?raw=true", seed=offset)
        await viewer.read(cut_after=offset)
        assert 140 < len(viewer.frames) < 160
        await viewer.read()
        recorded.check(viewer)


async def test_cut_after_every_event_the_union_equals_the_log(recorded: Recorded) -> None:
    viewer = recorded.viewer("?raw=true", seed=1)
    connections = 0
    while not viewer.ended:
        await viewer.read(events=1)
        connections += 1
    recorded.check(viewer)
    assert connections > EVENTS - 2


async def test_cut_at_every_byte_of_a_compact_stream_the_text_equals_the_logs(recorded: Recorded) -> None:
    whole = recorded.viewer("", seed=0)
    await whole.read()
    async with SseStream(recorded.gateways[0] + recorded.path) as stream:
        async for _ in stream:
            pass
    assert whole.text == recorded.text
    assert len(whole.frames) < EVENTS / 10
    for offset in range(1, len(stream.body), 3):
        viewer = recorded.viewer("", seed=offset)
        await viewer.read(cut_after=offset)
        while not viewer.ended:
            await viewer.read()
        assert viewer.text == recorded.text
        assert viewer.ids[-1] == recorded.log[-1][0]


async def test_cut_after_every_event_with_compaction_the_text_equals_the_logs(recorded: Recorded) -> None:
    """Each raw id is a cursor from which the compact stream goes on."""
    raw = recorded.viewer("?raw=true", seed=2)
    await raw.read()
    for number in range(EVENTS):
        viewer = recorded.viewer("", seed=number)
        viewer.frames = raw.frames[: number + 1]
        await viewer.read()
        assert viewer.text == recorded.text
