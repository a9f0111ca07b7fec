"""The Redis side of many gateways: `python -m bench.gateways --gateways 1 10 100` or `scripts/simulate-gateways`.

Each simulated gateway is a real tailer with a connection of its own, and its share of the viewers; there is no HTTP.
Sessions are claimed and events appended by the worker's own code. The tailers and the writer share one process, so the
figures are those of Redis: its CPU for an event, from its own accounts, however fast the machine lets events come.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from holdfast.gateway.stream.batch import Batch
from holdfast.gateway.stream.counters import Counters
from holdfast.gateway.stream.tailer import Tailer
from holdfast.shared.ids import EventId
from holdfast.shared.keys import session_keys
from holdfast.shared.log.log_replies import AppendOutcome, AppendPermit, Attempt, Event
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.redis.log_connections import LogConnection, LogConnections, connect_logs
from holdfast.shared.secret import Secret
from holdfast.shared.sessions import Sessions
from holdfast.shared.settings import CommonSettings

from bench.machine import cores, facts
from bench.peers.holdfast import JOB, Submission, plain_submissions
from bench.peers.redis import RedisServer
from tests.support.process import until

DEADLINE_S = 10.0
RECHECK_S = 30.0  # as in a gateway
SETTLE_S = 30.0
TICK_S = 0.005
AT_A_TIME = 64
EVENT = Event("text.delta", JOB, b'{"type":"text.delta","job_id":"%s","text":"token ","part":0}' % JOB.encode())
COLUMNS = (
    *("gateways", "sessions", "events/s", "reads/s", "deliveries a read", "Redis core", "µs an event", "connections"),
    *("KiB a session", "lost"),
)


@dataclass(frozen=True, slots=True)
class Load:
    """`active` of the sessions get `rate` events a second each. Each session has viewers on `spread` gateways."""

    sessions: int
    active: int
    rate: float
    seconds: float
    spread: int


class Watcher:
    """All viewers of a session at one gateway."""

    def __init__(self, cursor: EventId) -> None:
        self.cursor = cursor
        self.events = 0
        self.breaks = 0

    def deliver(self, batch: Batch) -> None:
        self.cursor = batch.last
        self.events += len(batch.entries)

    def fall_behind(self) -> None:
        self.breaks += 1


class Writer:
    """Appends the events of one session, as a worker that emits one at a time."""

    def __init__(self, log_writer: LogWriter, attempt: Attempt) -> None:
        self._log_writer = log_writer
        self.attempt = attempt
        self.seq = 1
        self._permit: AppendPermit | None = None
        self._appending: asyncio.Task[None] | None = None
        self._in_flight = False

    @property
    def last(self) -> EventId:
        return EventId(self.attempt.epoch, self.seq)

    def write(self) -> None:
        """Append the next event, if the one before is in the log."""
        if self._in_flight:
            return
        self._in_flight = True
        permit, session_id = self._permit, self.attempt.session_id
        if permit is not None and permit.is_valid(asyncio.get_running_loop().time()):
            first = EventId(self.attempt.epoch, self.seq + 1)
            self._log_writer.append_plain(permit, session_id, first, [EVENT], self._on_reply)
        else:
            self._appending = asyncio.create_task(self._append())

    def _on_reply(self, outcome: AppendOutcome) -> None:
        if outcome is AppendOutcome.ADDED:
            self.seq += 1
            self._in_flight = False
        else:
            self._appending = asyncio.create_task(self._append())

    async def _append(self) -> None:
        appended = await self._log_writer.append(self.attempt.session_id, self.attempt.epoch, self.seq, [EVENT])
        self.seq, self._permit, self._in_flight = self.seq + 1, appended.permit, False


@dataclass(frozen=True, slots=True)
class Usage:
    """What the servers have used together: CPU in s, reads, connections, bytes."""

    cpu_s: float
    reads: int
    connections: int
    memory: int

    @classmethod
    async def of(cls, servers: Sequence[LogConnection]) -> Usage:
        infos = [await server.redis.info("everything") for server in servers]
        commands = ("cmdstat_xread", "cmdstat_xrange")
        return cls(
            sum(info["used_cpu_user"] + info["used_cpu_sys"] for info in infos),
            sum(info.get(name, {}).get("calls", 0) for info in infos for name in commands),
            sum(info["connected_clients"] for info in infos),
            sum(info["used_memory"] for info in infos),
        )


class Simulation:
    """So many gateways on the log servers at one address."""

    def __init__(self, logs: LogConnections, gateways: int, load: Load) -> None:
        self._logs = logs
        self._gateways = gateways
        self._load = load
        self._counters = Counters()
        self._settings = CommonSettings()
        self.watchers: list[list[Watcher]] = []
        self.writers: list[Writer] = []

    async def run(self) -> str:
        """Measure once. Returns a line of the table."""
        empty = await Usage.of(self._logs.servers)
        await self._claim()
        async with self._tailing():
            await self._write(1.0)
            before, began_s, written = await Usage.of(self._logs.servers), time.monotonic(), self._written()
            await self._write(self._load.seconds)
            seconds, events = time.monotonic() - began_s, self._written() - written
            used = await Usage.of(self._logs.servers)
            lost = await self._lost()
        cpu_s, reads = used.cpu_s - before.cpu_s, used.reads - before.reads
        kib = (used.memory - empty.memory) / 1024 / self._load.sessions
        figures = (
            f"{self._gateways} | {self._load.sessions:,} | {events / seconds:,.0f} | {reads / seconds:,.0f}",
            f"{events * self._load.spread / max(reads, 1):.2f} | {cpu_s / seconds:.3f} | {cpu_s / events * 1e6:.1f}",
            f"{used.connections} | {kib:.1f} | {lost}",
        )
        return f"| {' | '.join(figures)} |"

    async def clear(self) -> None:
        """Delete the sessions."""
        for writer in self.writers:
            session_id = writer.attempt.session_id
            await self._logs.connection_for(session_id).redis.delete(*session_keys(session_id))

    async def _claim(self) -> None:
        submissions = await plain_submissions(Secret(self._logs.servers[0].redis), self._load.sessions)
        intake, log_writer = Sessions(self._logs, self._settings), LogWriter(self._logs, self._settings)
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

        self.writers = await asyncio.gather(*map(claim, submissions))

    @asynccontextmanager
    async def _tailing(self) -> AsyncIterator[None]:
        """Run the tailers, one of each gateway for each server, with a viewer of each of its sessions."""
        tailers = [{server: self._tailer(server) for server in self._logs.servers} for _ in range(self._gateways)]
        tasks = [asyncio.create_task(tailer.run()) for gateway in tailers for tailer in gateway.values()]
        for number, writer in enumerate(self.writers):
            session_id = writer.attempt.session_id
            server = self._logs.connection_for(session_id)
            watchers = [Watcher(writer.last) for _ in range(self._load.spread)]
            self.watchers.append(watchers)
            for place, watcher in enumerate(watchers):
                tailer = tailers[(number + place) % self._gateways][server]
                tailer.join(tailer.watch(session_id), watcher)
        try:
            await until(lambda: all(tailer.connected for gateway in tailers for tailer in gateway.values()), SETTLE_S)
            yield
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _tailer(self, server: LogConnection) -> Tailer:
        keyring = self._logs.keyring
        return Tailer(server.url, self._counters, keyring, recheck_s=RECHECK_S, deadline_s=DEADLINE_S)

    async def _write(self, seconds: float) -> None:
        """Write at the rate of the load, spread evenly over time."""
        active, began_s, done = self.writers[: self._load.active], time.monotonic(), 0
        while (elapsed := time.monotonic() - began_s) < seconds:
            due = int(elapsed * self._load.rate * len(active))
            for number in range(done, due):
                active[number % len(active)].write()
            done = due
            await asyncio.sleep(TICK_S)

    def _written(self) -> int:
        return sum(writer.seq for writer in self.writers)

    async def _lost(self) -> int:
        """Wait until every viewer has what was written. Returns how many events are missing, or broke the chain."""
        with contextlib.suppress(AssertionError):
            await until(lambda: self._missing() == 0, SETTLE_S)
        return self._missing()

    def _missing(self) -> int:
        pairs = zip(self.writers, self.watchers, strict=True)
        return sum(writer.seq - 1 - one.events + one.breaks for writer, watchers in pairs for one in watchers)


async def simulate(url: str, gateways: int, load: Load) -> str:
    logs = connect_logs(url, max_connections=8, deadline_s=DEADLINE_S)
    simulation = Simulation(logs, gateways, load)
    try:
        return await simulation.run()
    finally:
        await simulation.clear()
        await logs.aclose()


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts/simulate-gateways", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--log", metavar="URL", help="the log server; without it one is started")
    parser.add_argument("--gateways", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--sessions", type=int, default=10_000, help="that have viewers")
    parser.add_argument("--active", type=int, default=1000, help="of these get events")
    parser.add_argument("--rate", type=float, default=10, help="events/s of each of these")
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--spread", type=int, default=1, help="gateways that the viewers of a session are on")
    given = parser.parse_args()
    load = Load(given.sessions, min(given.active, given.sessions), given.rate, given.seconds, given.spread)
    print(f"{facts()}\n\n| {' | '.join(COLUMNS)} |\n|{' ---: |' * len(COLUMNS)}", flush=True)
    with tempfile.TemporaryDirectory(prefix="gateways-") as folder, contextlib.ExitStack() as stack:
        url = given.log
        if url is None:
            server = RedisServer(Path(folder), cores().load)
            stack.callback(server.stop)
            url = server.url
        for gateways in given.gateways:
            print(asyncio.run(simulate(url, gateways, load)), flush=True)


if __name__ == "__main__":
    main()
