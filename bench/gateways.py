"""The Redis side of many gateways: `python -m bench.gateways --gateways 1 10 100` or `scripts/simulate-gateways`.

Each simulated gateway has a real tailer with connections of its own, and its share of the viewers; there is no HTTP.
Sessions are claimed and events appended by the worker's own code, on one Redis and on a cluster of three masters. The
gateways and the writers share one process, so the figures are those of Redis, from its own accounts, however fast the
machine lets events come. The lag contains the time that an event waits for that process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import functools
import operator
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop
from holdfast.shared.keys import session_keys
from holdfast.shared.log.log_replies import Attempt
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.redis.log_connections import LogConnections, connect_logs
from holdfast.shared.secret import Secret
from holdfast.shared.sessions import Sessions
from holdfast.shared.settings import CommonSettings

from bench.log_node import LogNode, Usage, nodes_of, place_of
from bench.machine import cores, facts
from bench.measured_node import Measured
from bench.peers.cluster import started
from bench.peers.holdfast import JOB, Submission, plain_submissions
from bench.peers.stage import Stage
from bench.simulated_gateway import DEADLINE_S, SimulatedGateway
from bench.simulated_session import Writer
from tests.support.process import until

SETTLE_S = 30.0
TICK_S = 0.005
AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class Load:
    """`active` of the sessions get `rate` events a second each. Each session has viewers on `spread` gateways."""

    sessions: int
    active: int
    rate: float
    seconds: float
    spread: int


class Simulation:
    """Gateways and writers on the log servers at one address."""

    def __init__(self, logs: LogConnections, nodes: Mapping[str, LogNode], load: Load) -> None:
        self._logs = logs
        self._nodes = nodes
        self._load = load
        self._writers: list[Writer] = []

    async def run(self, gateways: int) -> list[Measured]:
        """Measure once. Returns what each server did."""
        empty = await self._usages()
        await self._claim()
        stored = await self._usages()
        async with self._watching(gateways):
            viewed = await self._usages()
            await self._write(1.0)
            for node in self._nodes.values():
                node.lags_s.clear()
            began, began_s = await self._usages(), time.monotonic()
            await self._write(self._load.seconds)
            ended, seconds = await self._usages(), time.monotonic() - began_s
            with contextlib.suppress(AssertionError):  # what is missing then is lost
                await until(lambda: not any(node.missing for node in self._nodes.values()), SETTLE_S)
        return [
            Measured(
                seconds,
                len(node.writers),
                stored[place] - empty[place],
                viewed[place] - stored[place],
                ended[place] - began[place],
                ended[place],
                tuple(node.lags_s),
                node.missing,
            )
            for place, node in self._nodes.items()
        ]

    async def clear(self) -> None:
        """Delete the sessions."""
        redis = self._logs.servers[0].redis
        for writer in self._writers:
            await redis.delete(*session_keys(writer.attempt.session_id))

    async def _claim(self) -> None:
        server = self._logs.servers[0]
        submissions = await plain_submissions(Secret(server.redis), self._load.sessions)
        intake, log_writer = Sessions(self._logs, CommonSettings()), LogWriter(self._logs, CommonSettings())
        prefix, slots = secrets.token_hex(4), asyncio.Semaphore(AT_A_TIME)

        async def claim(submission: Submission) -> Writer:
            session_id = f"{prefix}-{submission.session_id}"
            async with slots:
                await intake.submit(session_id, JOB, submission.request)
                attempt = await log_writer.claim(
                    session_id, JOB, delivery=1, claim_id=session_id, worker_id="bench", offered=True
                )
            assert isinstance(attempt, Attempt)
            return Writer(log_writer, attempt)

        self._writers = await asyncio.gather(*map(claim, submissions))
        for writer in self._writers:
            self._nodes[place_of(server, writer.attempt.session_id)].writers.append(writer)

    @asynccontextmanager
    async def _watching(self, count: int) -> AsyncIterator[None]:
        """Run the gateways, with a viewer of each of their sessions, once every log is tracked."""
        gateways = [SimulatedGateway(self._logs.servers[0].url, self._nodes) for _ in range(count)]
        try:
            await until(lambda: all(gateway.connected for gateway in gateways), SETTLE_S)
            turn = 0
            for node in self._nodes.values():
                for writer in node.writers:
                    for place in range(self._load.spread):
                        gateway = gateways[(turn + place) % count]
                        node.watchers.append(gateway.view(writer, node))
                    turn += 1
            await until(self._tracked, SETTLE_S)
            yield
        finally:
            for gateway in gateways:
                await gateway.aclose()

    async def _tracked(self) -> bool:
        usages = await self._usages()
        return sum(usage.tracked_keys for usage in usages.values()) >= self._load.sessions

    async def _usages(self) -> dict[str, Usage]:
        return {place: await node.usage() for place, node in self._nodes.items()}

    async def _write(self, seconds: float) -> None:
        """Write at the rate of the load, spread evenly over time."""
        active, began_s, done = self._writers[: self._load.active], time.monotonic(), 0
        while (elapsed := time.monotonic() - began_s) < seconds:
            due = int(elapsed * self._load.rate * len(active))
            for number in range(done, due):
                active[number % len(active)].write()
            done = due
            await asyncio.sleep(TICK_S)


async def simulate(url: str, gateways: int, load: Load) -> list[Measured]:
    """Measure the servers at an address, and delete what was written. Returns what each of them did."""
    logs = connect_logs(url, max_connections=8, deadline_s=DEADLINE_S)
    simulation = Simulation(logs, await nodes_of(logs.servers[0]), load)
    try:
        return await simulation.run(gateways)
    finally:
        await simulation.clear()
        await logs.aclose()


def table(title: str, runs: Sequence[Sequence[Measured]]) -> str:
    """Return a Markdown table: a column for each server, and before those of a cluster one for all of them."""
    columns: dict[str, dict[str, str]] = {}
    for nodes in runs:
        if len(nodes) == 1:
            columns["one Redis"] = nodes[0].figures()
        else:
            columns[f"cluster of {len(nodes)}"] = functools.reduce(operator.add, nodes).figures()
            columns |= {f"node {number}": node.figures() for number, node in enumerate(nodes, 1)}
    lines = [[title, *columns], ["---", *("---:" for _ in columns)]]
    lines += [[name, *(figures[name] for figures in columns.values())] for name in next(iter(columns.values()))]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/simulate-gateways", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--log", metavar="URL", help="log server or cluster; without it one of each is started")
    parser.add_argument("--gateways", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--sessions", type=int, default=10_000, help="that have viewers")
    parser.add_argument("--active", type=int, default=1000, help="of these get events")
    parser.add_argument("--rate", type=float, default=10, help="events/s of each of these")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--spread", type=int, default=1, help="gateways that the viewers of a session are on")
    given = parser.parse_args()
    load = Load(given.sessions, min(given.active, given.sessions), given.rate, given.seconds, given.spread)
    print(facts(), flush=True)
    with (
        tempfile.TemporaryDirectory(prefix="gateways-") as folder,
        Stage(Path(folder), cores(), given.sessions) as stage,
    ):
        urls = [given.log] if given.log else [stage.redis().url, started(stage)[0].url]
        for gateways in given.gateways:
            with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
                runs = [runner.run(simulate(url, gateways, load)) for url in urls]
            print(f"\n{table(f'gateways: {gateways}', runs)}", flush=True)


if __name__ == "__main__":
    main()
