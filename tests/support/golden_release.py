"""What the processes of the previous release leave in Redis when they are killed, in a file for the tests of this one.

    python -m tests.support.golden_release a866859 tests/data/release-a866859.json

runs a gateway and a worker of that commit, submits jobs over HTTP, kills both with SIGKILL and writes down every key.
`PLACES` are the sessions, each with its jobs: each is at another place in its life.
"""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from pathlib import Path
from socket import gethostname
from typing import Any

import httpx2
from holdfast.shared.keys import SECRET
from holdfast.shared.redis.client import connect

from tests.support.fault_agents import RUNS
from tests.support.golden import dump
from tests.support.ports import free_port
from tests.support.process import Processes, until
from tests.support.redis_server import RedisServer
from tests.support.releases import Release, check_out

STREAMED, STEPS = 40, 6  # tokens and steps of the jobs that run
SPOKEN = 12  # tokens of these before the end
PLACES: dict[str, list[dict[str, Any]]] = {
    "done": [
        {"agent": "scripted", "input": "hi", "options": {"tokens": 5, "interval_ms": 0, "tools": 1}},
        {"agent": "scripted", "input": "again", "options": {"tokens": 9, "interval_ms": 0, "fail_at": 3}},
    ],
    "asked": [{"agent": "scripted", "input": "hi", "options": {"tokens": 3, "interval_ms": 0, "ask": "Which city?"}}],
    "streams": [
        {"agent": "scripted", "input": "hi", "options": {"tokens": STREAMED, "interval_ms": 25}},
        {"agent": "scripted", "input": "then", "options": {"tokens": 2, "interval_ms": 0}},
    ],
    "steps": [{"agent": "climbs", "input": "hi", "options": {"steps": STEPS, "interval_ms": 25}}],
}


async def record(release: Release, folder: Path) -> list[Any]:
    """Run the release and return every key that it leaves, as tests.support.golden describes them."""
    server, processes = RedisServer(folder / "redis"), Processes(folder)
    server.start()
    try:
        await _fill(release, processes, server.url)
    finally:
        processes.kill()
    redis = connect(server.url, max_connections=1)
    try:
        await redis.delete(SECRET)  # a file with a secret would alarm scripts/audit; without one a new one is made
        # A wake-up is gone once it is read, and a turn expires.
        return [key for key in await dump(redis, (":wake", ":turn")) if not key[0].startswith(RUNS)]
    finally:
        await redis.aclose()
        server.kill()


async def _fill(release: Release, processes: Processes, redis_url: str) -> None:
    port = str(free_port())
    env = {"HOLDFAST_REDIS_URL": redis_url, "HOLDFAST_LOG_FORMAT": "json"}
    agents = {"HOLDFAST_SCRIPTED_AGENT": "1", "HOLDFAST_AGENTS": "tests.support.fault_agents"}
    gateway = processes.start(release.command("gateway"), release.tree, HOLDFAST_PORT=port, **env)
    worker = processes.start(release.command("worker"), release.tree, **env, **agents)
    await gateway.until_output('"listening"')
    await worker.until_output("worker started")
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}/v1", trust_env=False, timeout=20) as client:
        for session, jobs in PLACES.items():
            for number, job in enumerate(jobs):
                headers = {"Idempotency-Key": f"k{number}"}
                (await client.post(f"/sessions/{session}/jobs", json=job, headers=headers)).raise_for_status()

        await until(lambda: _all_begun(client))


async def _all_begun(client: httpx2.AsyncClient) -> bool:
    """Whether every job is where it is to be found, with some tokens of those that run."""
    jobs = {name: (await client.get(f"/sessions/{name}/jobs")).json()["jobs"] for name in PLACES}
    statuses = {name: {job["job_id"]: job["status"] for job in found} for name, found in jobs.items()}
    if not {"completed", "failed"} >= set(statuses["done"].values()) or "waiting" not in statuses["asked"].values():
        return False
    return all([await _spoken(client, name) >= SPOKEN for name in ("streams", "steps")])


async def _spoken(client: httpx2.AsyncClient, session: str) -> int:
    """Count the deltas of a session until now."""
    found = 0
    async with client.stream("GET", f"/sessions/{session}/events?raw=true") as stream:
        lines = aiter(stream.aiter_lines())
        while found < SPOKEN:
            found += "text.delta" in await asyncio.wait_for(anext(lines), 5)
    return found


def main() -> None:
    revision, path = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        keys = asyncio.run(record(check_out(revision), Path(folder)))
    text = json.dumps(keys, ensure_ascii=False, indent=1) + "\n"
    Path(path).write_text(text.replace(gethostname(), "host"), "utf-8")  # in the worker's id


if __name__ == "__main__":
    main()
