"""`python -m tests.support.flood_deployment URL`: the flood on a deployment, through its proxy.

The deployment needs HOLDFAST_SCRIPTED_AGENT=1. HOLDFAST_TOKEN is a key of the tenant that submits one job at a time,
FLOOD_TOKEN one of the tenant that queues its jobs at once; without it both are the same tenant. Certificates are
verified with the authorities of the system, or with those of the file SSL_CERT_FILE.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import secrets
import ssl
import sys
from typing import Any, NamedTuple

import httpx2

from tests.support.flood import AT_ONCE, Wait, print_waits

TOKENS = 10  # events of a job
LOOK_S = 0.05
ENDED = {"completed", "failed", "cancelled"}
LIMITS = httpx2.Limits(max_connections=AT_ONCE)


class Submitted(NamedTuple):
    """A job, in a session of its own."""

    token: str
    path: str


class Deployment:
    """Submits jobs that take `job_ms`, give or take a half, and reads their states."""

    def __init__(self, client: httpx2.AsyncClient, job_ms: float) -> None:
        self._client = client
        self._interval_ms = job_ms / TOKENS
        self._draw = random.Random(7)
        self._run = secrets.token_hex(4)

    async def submit(self, token: str, name: str) -> Submitted:
        options = {"tokens": TOKENS, "interval_ms": self._interval_ms * self._draw.uniform(0.5, 1.5)}
        body = {"agent": "scripted", "input": "go", "options": options}
        path = f"/v1/sessions/flood-{self._run}-{name}/jobs"
        answer = await self._client.post(path, json=body, headers=bearer(token))
        if answer.status_code != 202:
            sys.exit(f"a job was not accepted: {answer.status_code} {answer.text}")
        return Submitted(token, f"{path}/{answer.json()['job_id']}")

    async def state(self, job: Submitted) -> dict[str, Any]:
        answer = await self._client.get(job.path, headers=bearer(job.token))
        answer.raise_for_status()
        state: dict[str, Any] = answer.json()
        return state

    async def ended(self, job: Submitted) -> dict[str, Any]:
        """Return the state of a job once it has ended."""
        while (state := await self.state(job))["status"] not in ENDED:
            await asyncio.sleep(LOOK_S)
        return state


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def measure(url: str, calm_token: str, flood_token: str, *, jobs: int, job_ms: float) -> list[Wait]:
    """Return the waits of the other tenant's jobs while the flood lasts.

    Slots and times are those of the states of jobs, by the clocks of gateways and workers."""
    verify = ssl.create_default_context()
    async with httpx2.AsyncClient(base_url=url, verify=verify, limits=LIMITS, timeout=60) as client:
        deployment, flood = Deployment(client, job_ms), list[Submitted]()
        for first in range(0, jobs, AT_ONCE):
            names = [f"f{number}" for number in range(first, min(first + AT_ONCE, jobs))]
            flood += await asyncio.gather(*(deployment.submit(flood_token, name) for name in names))
        calm = list[dict[str, Any]]()
        while (await deployment.state(flood[-1]))["started_at"] is None:
            calm.append(await deployment.ended(await deployment.submit(calm_token, f"c{len(calm)}")))
        starts = [(await deployment.ended(job))["started_at"] for job in flood]
    return [wait_of(state["created_at"], state["started_at"], starts) for state in calm]


def wait_of(created_at: int, started_at: int, starts: list[int]) -> Wait:
    """Return the wait of a job, given when others started. All in ms since 1970."""
    return Wait(sum(created_at < other < started_at for other in starts), started_at - created_at)


def main() -> None:
    """Run the flood and print what the other tenant saw of it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", help="such as https://localhost")
    parser.add_argument("--jobs", type=int, default=1000, help="jobs of the flood (%(default)s)")
    parser.add_argument("--job-ms", type=float, default=1000, help="how long a job takes on average (%(default)s)")
    given = parser.parse_args()
    token = os.environ.get("HOLDFAST_TOKEN") or parser.error("HOLDFAST_TOKEN is required")
    flood_token = os.environ.get("FLOOD_TOKEN", token)
    waits = asyncio.run(measure(given.url, token, flood_token, jobs=given.jobs, job_ms=given.job_ms))
    tenants = "the same tenant" if flood_token == token else "another tenant"
    sys.stdout.write(f"{given.jobs} jobs of {given.job_ms:g} ms; jobs of {tenants}: {len(waits)}\n")
    print_waits(waits)


if __name__ == "__main__":
    main()
