"""Cut the connections of the client libraries at random bytes, and compare what they read with the logs.

Each viewer submits a job and reads it through a proxy that cuts."""

from __future__ import annotations

import httpx2
from holdfast.shared.keys import log_key
from holdfast.shared.redis.client import connect

from tests.support.cut_counts import CutCounts
from tests.support.cut_viewers import Follow, Seen
from tests.support.cutting_proxy import CuttingProxy
from tests.support.process import Processes, until
from tests.support.scene import words

TOKENS = 300
OPTIONS = {"tokens": TOKENS, "interval_ms": 20}
MOST_BYTES = 2500
VIEWERS = 32  # in one round


def compare(seen: Seen, log: list[str], jobs: int) -> CutCounts:
    """Compare what a viewer read with the ids of its log, and the number of jobs with one.

    Only viewers that read every event can lose one; for the others the text decides."""
    counts = CutCounts.of(0, seen.ids, log if seen.mode == "raw" else [each for each in log if each in set(seen.ids)])
    if seen.text != words(TOKENS):
        counts.wrong.append(f"{seen.session_id} ({seen.mode}) has the text {seen.text[-80:]!r}")
    if seen.gaps:
        counts.wrong.append(f"{seen.session_id} ({seen.mode}) has {seen.gaps} gaps")
    if jobs != 1:
        counts.wrong.append(f"{seen.session_id} has {jobs} jobs")
    return counts


async def cut_client(
    follow: Follow, gateway_url: str, redis_url: str, *, cuts: int, seed: int, viewers: int = VIEWERS
) -> CutCounts:
    """Submit and read jobs, in rounds of `viewers`, until so many cuts were made."""
    counts, number, port = CutCounts(), 0, int(gateway_url.rpartition(":")[2])
    while counts.cuts < cuts:
        left = cuts - counts.cuts
        async with CuttingProxy(port, cuts=left, most_bytes=MOST_BYTES, seed=seed + number) as proxy:
            seen = await follow(proxy.url, [f"cut-{seed}-{number}-{viewer}" for viewer in range(viewers)], OPTIONS)
        assert len(seen) == viewers
        for each in seen:
            counts.add(compare(each, await _log(redis_url, each.session_id), await _jobs(gateway_url, each.session_id)))
        counts.cuts += proxy.made
        number += 1
    return counts


async def _log(redis_url: str, session_id: str) -> list[str]:
    redis = connect(redis_url, max_connections=1)
    try:
        return [entry_id.decode() for entry_id, _ in await redis.xrange(log_key(session_id))]
    finally:
        await redis.aclose()


async def _jobs(gateway_url: str, session_id: str) -> int:
    async with httpx2.AsyncClient(base_url=gateway_url, trust_env=False) as client:
        return len((await client.get(f"/v1/sessions/{session_id}")).json()["jobs"])


async def start(processes: Processes, redis_url: str) -> str:
    """Start a gateway and a worker for the viewers of one round. Returns the address of the gateway."""
    gateway = processes.gateway(redis_url)
    worker = processes.worker(redis_url, HOLDFAST_MAX_JOBS=str(VIEWERS))
    await gateway.until_ready()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        await until(lambda: _offers(client), describe=worker.describe)
    return gateway.url


async def _offers(client: httpx2.AsyncClient) -> bool:
    return "scripted" in (await client.get("/v1/agents")).text
