"""A whole life of a session with encryption at rest and without: clients cannot tell them apart, a dump can."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Any

from tests.support.process import Processes, until
from tests.support.receiver import Receiver, receiver
from tests.support.redis_server import RedisServer
from tests.support.sealed import files_of, master_keys
from tests.support.sealed_agents import PLACES, planted
from tests.support.served import Served, served
from tests.support.sse import SseStream
from tests.support.websocket_client import open_socket, receive_until
from tests.support.workers import environment

SESSION = "/v1/sessions/s"
HOOKS: dict[str, Any] = {"webhook_secret": "a-secret-of-at-least-32-characters", "webhook_networks": "127.0.0.0/8"}
WORKER = environment(lease_seconds=1, agents="tests.support.sealed_agents", **HOOKS)


async def lived(server: RedisServer, processes: Processes, keys: str) -> dict[str, str]:
    """Everything that clients get of a life, by what they request, without what differs from run to run."""
    for _ in range(2):  # the first attempt kills its worker
        processes.worker(server.url, **WORKER, HOLDFAST_ENCRYPTION_KEYS=keys)
    async with receiver() as hook, served(server.url, encryption_keys=keys or None, **HOOKS) as gateway:
        jobs = [await confided(gateway, hook), await failed(gateway), await cancelled(gateway)]
        answers = await read(gateway, jobs)
        asked, ended = await hook.got(2)
        answers |= {"webhook at a question": asked.body.decode(), "webhook at the end": ended.body.decode()}
        await gateway.redis.save()
    server.shutdown()
    return {path: without_names(answer, jobs) for path, answer in answers.items()}


async def posted(gateway: Served, agent: str, **fields: Any) -> str:
    """Post a job once its agent is on offer. Returns its id."""
    body = {"agent": agent, "input": f"Tell {planted('input')}", **fields}

    async def accepted() -> bool:
        accepted.answer = await gateway.client.post(f"{SESSION}/jobs", json=body)  # type: ignore[attr-defined]
        return bool(accepted.answer.status_code == 202)  # type: ignore[attr-defined]

    await until(accepted)
    return str(accepted.answer.json()["job_id"])  # type: ignore[attr-defined]


async def until_status(gateway: Served, job_id: str, status: str) -> None:
    async def reached() -> bool:
        return bool((await gateway.client.get(f"{SESSION}/jobs/{job_id}")).json()["status"] == status)

    await until(reached)


async def confided(gateway: Served, hook: Receiver) -> str:
    given: dict[str, Any] = {"metadata": {"plan": planted("metadata")}, "options": {"style": planted("options")}}
    given["client"] = {"state": planted("client")}
    job_id = await posted(gateway, "confides", **given, webhook={"url": f"{hook.url}&{planted('webhook')}"})
    await until_status(gateway, job_id, "waiting")
    await hook.got(1)
    answer = await gateway.client.post(f"{SESSION}/jobs/{job_id}/answer", json={"value": planted("answer")})
    assert answer.status_code == 202
    await until_status(gateway, job_id, "completed")
    return job_id


async def failed(gateway: Served) -> str:
    job_id = await posted(gateway, "fails")
    await until_status(gateway, job_id, "failed")
    return job_id


async def cancelled(gateway: Served) -> str:
    job_id = await posted(gateway, "lingers")
    async with SseStream(f"{gateway.url}{SESSION}/jobs/{job_id}/events") as stream:
        async for frame in stream:  # live
            if "text" in frame.json:
                break
        await gateway.client.post(f"{SESSION}/jobs/{job_id}/cancel")
        assert [frame.json["type"] async for frame in stream][-1] == "job.cancelled"
    return job_id


async def read(gateway: Served, jobs: list[str]) -> dict[str, str]:
    """What every kind of reader gets."""
    paths = [SESSION, f"{SESSION}/messages", f"{SESSION}/jobs", "/v1/sessions"]
    paths += [f"{SESSION}/jobs/{job_id}" for job_id in jobs]
    answers = {path: (await gateway.client.get(path)).text for path in paths}
    for number, job_id in enumerate(jobs):
        async with SseStream(f"{gateway.url}{SESSION}/jobs/{job_id}/events?raw=true") as stream:
            answers[f"stream {number}"] = "".join([frame.data async for frame in stream])
    async with open_socket(gateway.port) as socket:
        answers["socket"] = str(await receive_until(socket, type="job.cancelled"))
    names = {f"{SESSION}/jobs/{job_id}": f"job {number}" for number, job_id in enumerate(jobs)}
    return {names.get(path, path): answer for path, answer in answers.items()}


def without_names(text: str, jobs: list[str]) -> str:
    """Replace times, and names that are random, by their order."""
    for number, job_id in enumerate(jobs):
        text = text.replace(job_id, f"job-{number}")
    text = re.sub(r'(["\'](?:\w+_)?at["\']: ?)\d+', r"\1T", text)
    text = re.sub(r'("(?:worker|timestamp)": ?)"[^"]+"', r"\1W", text)
    epochs = sorted(set(re.findall(r"\b\d{13,}(?=-\d)", text)))
    for number, epoch in enumerate(epochs):
        text = text.replace(epoch, f"E{number}")
    return re.sub(r"\b\d{13,}\b", "T", text)


async def test_clients_get_the_same_with_encryption_and_without_and_a_dump_shows_nothing_of_it(
    redis_server: Callable[..., RedisServer], processes: Processes
) -> None:
    options = {"aof": True, "rdbcompression": "no", "dbfilename": "dump.rdb"}
    plain, sealed = redis_server(**options), redis_server(**options)
    keys = master_keys("m1")
    expected, answers = await asyncio.gather(lived(plain, processes, ""), lived(sealed, processes, keys))
    assert answers == expected
    secrets = {name: planted(name).encode() for name in PLACES}
    for server, shown in ((plain, set(PLACES)), (sealed, set())):
        assert (server.folder / "dump.rdb").stat().st_size > 1000
        found = files_of(server)
        assert {name for name, secret in secrets.items() if secret in found} == shown
