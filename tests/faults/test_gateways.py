"""Gateways are killed, frozen, told to stop and overrun: a viewer needs nothing but to come again, to any of them."""

from __future__ import annotations

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx2
import pytest
import redis as blocking_redis
from holdfast.shared.failpoints import EXIT_CODE

from tests.support.patience import patient
from tests.support.process import Gateway, Processes, until
from tests.support.redis_server import RedisServer
from tests.support.scene import Scene, scene, words
from tests.support.sse import SseStream
from tests.support.viewer import Viewer
from tests.support.workers import Client, worker_on


class Row:
    """Three gateways before one Redis, and how one of them is put up again."""

    def __init__(self, folder: Path) -> None:
        self.redis = RedisServer(folder / "redis")
        self.redis.start()
        self._processes = Processes(folder)
        self.gateways = [self.up() for _ in range(3)]
        for gateway in self.gateways:
            ready(gateway)

    @property
    def urls(self) -> list[str]:
        return [gateway.url for gateway in self.gateways]

    def up(self, port: int | None = None, **env: str) -> Gateway:
        return self._processes.gateway(self.redis.url, port=port, **env)

    def again(self, number: int) -> None:
        """Put a gateway up on the port of the one that is gone."""
        self.gateways[number] = self.up(int(self.gateways[number].url.rpartition(":")[2]))

    def close(self) -> None:
        self._processes.kill()
        self.redis.kill()


def ready(gateway: Gateway) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx2.get(gateway.url + "/readyz", trust_env=False).status_code == 200:
                return
        except httpx2.TransportError:
            time.sleep(0.02)
    raise AssertionError(gateway.describe())


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Row]:
    row = Row(tmp_path_factory.mktemp("row"))
    yield row
    row.close()


@pytest.fixture
async def play(row: Row) -> AsyncIterator[Scene]:
    """An empty server with a worker, watched through the three gateways."""
    with blocking_redis.Redis.from_url(row.redis.url) as admin:
        admin.flushall()
    client = Client(row.redis.url)
    patient(client.redis)
    patient(client.log_redis)
    async with worker_on(row.redis.url):
        await client.offered("scripted")
        play = Scene(client, row.urls)
        yield play
        await play.close()
    await client.close()


async def test_f02_two_hundred_refreshes_over_three_gateways_give_the_log_once(row: Row, play: Scene) -> None:
    await play.post(tokens=600, interval_ms=8)
    await play.client.running()
    viewer, connections = Viewer(row.urls, "/v1/sessions/s/jobs/j1/events?raw=true", seed=2), 0
    while not viewer.ended:
        await viewer.read(events=1 if connections < 200 else None)
        connections += 1
    log = (await play.verdict())["s"]
    assert viewer.ids == [str(event.id) for event in log]
    assert viewer.text == words(600)
    assert connections > 200


async def test_f03_f04_gateways_that_die_or_are_told_to_stop_cost_a_reconnect_and_nothing_else(
    row: Row, play: Scene
) -> None:
    for session in ("s", "t", "u"):
        await play.post(session, tokens=250, interval_ms=20)
        for seed in range(4):
            play.watch(session, seed=seed, stay_s=None if seed else 0.4)
    await play.heard(5)
    for number, kill in ((0, True), (1, False), (2, True), (0, False)):
        gateway = row.gateways[number]
        if kill:
            gateway.kill()
        else:
            gateway.terminate()
            assert await gateway.wait() == 0
        row.again(number)
        await row.gateways[number].until_ready()
    await play.verdict()


async def test_f05_a_gateway_that_was_frozen_goes_on_without_a_doubled_event(row: Row, play: Scene) -> None:
    await play.post(tokens=200, interval_ms=20)
    for seed in range(3):
        play.watch(seed=seed)
    await play.heard(5)
    for gateway in row.gateways:
        gateway.stop()
    await asyncio.sleep(3)
    for gateway in row.gateways:
        gateway.cont()
    await play.verdict()


async def test_f36_a_reconnect_storm_gets_streams_or_retry_times_always_with_200(row: Row, play: Scene) -> None:
    await play.post(tokens=5)
    gateway = row.up(HOLDFAST_MAX_VIEWERS="100")
    await gateway.until_ready()
    port = int(gateway.url.rpartition(":")[2])
    for _ in range(2):
        streams = [SseStream(f"{gateway.url}/v1/sessions/s/events") for _ in range(400)]
        await asyncio.gather(*(stream.__aenter__() for stream in streams))
        assert {stream.status for stream in streams} == {200}
        firsts = await asyncio.gather(*(anext(stream.chunks()) for stream in streams))
        waits = {int(first.split()[1]) for first in firsts if b"retry: 1000\n" not in first}
        assert len(waits) > 50
        assert await _connections(play) < 60
        gateway.kill()
        for stream in streams:
            stream.cut()
        gateway = row.up(port, HOLDFAST_MAX_VIEWERS="100")
        await gateway.until_ready()
    gateway.kill()


async def _connections(play: Scene) -> int:
    return int((await play.client.redis.info("clients"))["connected_clients"])


async def test_f52_without_a_free_descriptor_new_viewers_wait_old_ones_go_on_and_then_all_is_well(
    row: Row, play: Scene
) -> None:
    gateway = row.up()
    await gateway.until_ready()
    await play.post(tokens=150, interval_ms=20)
    play.urls = [gateway.url]
    play.watch()
    await play.heard(5)
    used = len(list(Path(f"/proc/{gateway.pid}/fd").iterdir()))
    assert used < 60
    _, hard = resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(gateway.pid, resource.RLIMIT_NOFILE, (64, hard))
    storm = [await asyncio.open_connection("127.0.0.1", int(gateway.url.rpartition(":")[2])) for _ in range(80)]
    before = len(play.watchers[0].transcript.events())
    await play.heard(before + 20)
    for _, writer in storm:
        writer.close()
    await until(lambda: _taken(gateway))
    await play.verdict()
    gateway.kill()


async def _taken(gateway: Gateway) -> bool:
    """Whether a new viewer is taken."""
    try:
        async with SseStream(f"{gateway.url}/v1/sessions/s/events") as stream:
            return (await anext(stream.chunks())).startswith(b"retry: ")
    except (OSError, asyncio.IncompleteReadError):
        return False


async def test_f56_an_event_source_meets_every_refusal_in_turn_and_never_gives_up(row: Row, play: Scene) -> None:
    """A browser's EventSource closes for good on any status but 200 (and 204, which is meant)."""
    gateway = row.up(HOLDFAST_MAX_VIEWERS="2")
    await gateway.until_ready()
    port = int(gateway.url.rpartition(":")[2])
    await play.post(tokens=150, interval_ms=20)
    play.urls = [gateway.url]
    for seed in range(5):
        play.watch(seed=seed, stay_s=0.5)
    await play.heard(3)
    row.redis.stop()
    await asyncio.sleep(1)
    row.redis.cont()
    gateway.terminate()
    assert await gateway.wait() == 0
    gateway = row.up(port, HOLDFAST_MAX_VIEWERS="2")
    await gateway.until_ready()
    await play.verdict()
    assert all(watcher.transcript.connections > 3 for watcher in play.watchers)
    gateway.kill()


POINTS = {
    "before_reserve": False,
    "after_reserve_before_submit": False,
    "after_submit_before_ready": True,
    "after_ready_before_answer": True,
}


async def test_f61_a_gateway_that_dies_between_any_two_steps_of_a_post_leaves_a_job_that_runs_or_none(
    redis_url: str, redis_server: Callable[[], RedisServer], processes: Processes
) -> None:
    """Queue and logs stand on two servers. Repeated under its key, there is one job in any case."""
    log_url = redis_server().url
    gateways = {
        point: processes.gateway(redis_url, HOLDFAST_FAILPOINTS=f"{point}=exit", HOLDFAST_LOG_REDIS_URL=log_url)
        for point in POINTS
    }
    body = {"agent": "scripted", "input": "go", "options": {"tokens": 3}}
    async with (
        worker_on(redis_url, log_redis_url=log_url),
        scene(redis_url, log_redis_url=log_url) as play,
        httpx2.AsyncClient(trust_env=False, timeout=30) as http,
    ):
        await play.client.offered("scripted")

        async def post(url: str, point: str) -> httpx2.Response:
            path = f"{url}/v1/sessions/{point}/jobs"
            return await http.post(path, json=body, headers={"Idempotency-Key": point})

        for point, gateway in gateways.items():
            await gateway.until_ready()
            with pytest.raises(httpx2.TransportError):
                await post(gateway.url, point)
            assert await gateway.wait() == EXIT_CODE
        for point, accepted in POINTS.items():
            assert (await play.client.log.presence(point) == "there") == accepted
            if accepted:
                (job_id,) = (await play.client.sessions.session(point)).jobs
                assert (await play.client.end(point, job_id))["type"] == "job.completed"
            answer = await post(play.url, point)
            assert answer.status_code == 202
            assert (answer.headers.get("Idempotency-Replayed") == "true") == accepted
            play.history.accepted.add((point, answer.json()["job_id"]))
            play.watch(point)
        logs = await play.verdict()
        assert {sum(event.kind == "job.started" for event in log) for log in logs.values()} == {1}
