"""Cuts a client library at random bytes of real connections, and compares what it saw with the logs.

    scripts/client-cuts --cuts 1000 --seed 7

Each viewer sends a job, through the same cuts, and follows it. Prints the counts. Ends with 1 if an event was lost or
doubled, a text differs from the log's, or a job was queued twice.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import orjson
from holdfast.shared.keys import log_key
from holdfast.shared.redis.client import connect

from tests.support.cutting_proxy import CuttingProxy
from tests.support.node import NODE
from tests.support.process import Processes, inherited_env, until
from tests.support.redis_server import RedisServer

FOLLOW = Path(__file__).parent / "follow.mjs"
ENOUGH_SECONDS = 600


@dataclass(frozen=True)
class Plan:
    """`tokens` and `interval_ms` of each job."""

    cuts: int
    viewers: int
    tokens: int
    interval_ms: int
    seed: int


@dataclass
class Report:
    """What was cut and what was seen. `lost` and `doubled` count events of viewers that read every event."""

    cuts: int = 0
    connections: int = 0
    viewers: int = 0
    events: int = 0
    lost: int = 0
    doubled: int = 0
    wrong: list[str] = field(default_factory=list)

    def lines(self) -> list[str]:
        return [
            f"cuts        {self.cuts}, {self.connections} connections of {self.viewers} viewers",
            f"events      {self.events} delivered, {self.lost} lost, {self.doubled} doubled",
            f"violations  {len(self.wrong)}",
            *(f"            {each}" for each in self.wrong[:20]),
        ]

    def add(self, seen: dict[str, Any], log: list[tuple[str, dict[str, Any]]]) -> None:
        """Compare what one viewer saw with the log of its session."""
        self.viewers += 1
        self.events += len(seen["ids"])
        name = f"{seen['session']} ({seen['mode']})"
        ids = [event_id for event_id, _ in log]
        self.doubled += len(seen["ids"]) - len(set(seen["ids"]))
        if seen["mode"] == "raw":
            self.lost += len(set(ids) - set(seen["ids"]))
            if seen["ids"] != ids:
                self.wrong.append(f"{name}: the ids are not those of the log, in order")
        text = "".join(event["text"] for _, event in log if event["type"] == "text.delta")
        if seen["text"] != text:
            self.wrong.append(f"{name}: {len(seen['text'])} characters instead of {len(text)}, or other ones")
        if seen["gaps"]:
            self.wrong.append(f"{name}: {seen['gaps']} gaps")
        started = sum(event["type"] == "job.started" for _, event in log)
        if started != 1:
            self.wrong.append(f"{name}: {started} jobs")


async def run(plan: Plan, redis_url: str, processes: Processes) -> Report:
    """Start a gateway and a worker, cut the client, and compare."""
    gateway = processes.gateway(redis_url)
    worker = processes.worker(redis_url, HOLDFAST_MAX_JOBS=str(plan.viewers))
    await gateway.until_ready()
    await _offered(gateway.url, worker.describe)
    report = Report()
    options = {"viewers": plan.viewers, "tokens": plan.tokens, "interval_ms": plan.interval_ms}
    port = int(gateway.url.rpartition(":")[2])
    async with CuttingProxy(port, cuts=plan.cuts, most_bytes=2000, seed=plan.seed) as proxy:
        seen = await _follow({"url": proxy.url} | options)
        report.cuts, report.connections = proxy.made, proxy.connections
    redis = connect(redis_url, max_connections=1)
    for each in seen:
        found = await redis.xrange(log_key(each["session"]))
        report.add(each, [(name.decode(), orjson.loads(next(iter(values.values())))) for name, values in found])
    await redis.aclose()
    if report.viewers != plan.viewers:
        report.wrong.append(f"{plan.viewers - report.viewers} viewers did not end")
    return report


async def _offered(url: str, describe: Any) -> None:
    async with httpx2.AsyncClient(base_url=url, trust_env=False) as client:

        async def offered() -> bool:
            return "scripted" in (await client.get("/v1/agents")).text

        await until(offered, describe=describe)


async def _follow(options: dict[str, Any]) -> list[dict[str, Any]]:
    pipe = asyncio.subprocess.PIPE
    command = [NODE, str(FOLLOW), json.dumps(options)]
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, env=inherited_env())
    try:
        output, _ = await asyncio.wait_for(process.communicate(), ENOUGH_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
    assert process.returncode == 0
    return [json.loads(line) for line in output.splitlines()]


def main() -> int:
    """Run one plan and print its report. Returns the exit code."""
    parser = argparse.ArgumentParser(prog="scripts/client-cuts", description=__doc__)
    parser.add_argument("--cuts", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None, help="decides where to cut; drawn and printed when left out")
    given = parser.parse_args()
    seed = random.randrange(10**6) if given.seed is None else given.seed
    plan = Plan(given.cuts, viewers=max(3, given.cuts // 10), tokens=400, interval_ms=50, seed=seed)
    sys.stdout.write(f"scripts/client-cuts --cuts {plan.cuts} --seed {plan.seed}\n")
    folder = Path(tempfile.mkdtemp(prefix="client-cuts-"))
    server, processes = RedisServer(folder / "redis"), Processes(folder)
    server.start()
    try:
        report = asyncio.run(run(plan, server.url, processes))
    finally:
        processes.kill()
        server.kill()
    sys.stdout.write("\n".join(report.lines()) + "\n")
    return 1 if report.wrong or report.lost or report.doubled or report.cuts < plan.cuts else 0


if __name__ == "__main__":
    sys.exit(main())
