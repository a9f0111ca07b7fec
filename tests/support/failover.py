"""Failovers of a Redis Cluster under load: jobs stream to viewers while a master is killed, frozen or replaced.

    scripts/failover killed frozen planned cut reshard --jobs 500 --viewers 2000

Each scenario has a deployment of its own: a cluster of three masters with a replica each for the logs, one Redis for
the queue, two gateways and three workers. Prints what was lost, doubled and declared as a gap.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
from holdfast.shared.ids import ORIGIN
from holdfast.shared.keys import ENTRIES
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.cluster_slots import SLOTS, slot_of
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.redis.log_connections import connect_logs

from tests.support.history import History, Told, Transcript, final_log
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes, until
from tests.support.redis_cluster import ClusterServer, RedisCluster, wait
from tests.support.redis_server import RedisServer
from tests.support.scene import words
from tests.support.steps import texts_of
from tests.support.watcher import Watcher, dismiss

GATEWAYS = 2
WORKERS = 3
CUT_S = 1.0  # from the cut of a replica's link to the kill of its master
LINGER_S = 3.0  # that a frozen master stays frozen after its replica took over
POSTING = 20  # jobs at a time
SETTLE_S = 120.0


@dataclass(frozen=True)
class Plan:
    """`seconds`: how long each job streams; `interval_ms`: between two of its events. `timeout_ms`: after which the
    cluster's nodes take each other for failed. `slots`: that a reshard moves."""

    scenario: str
    jobs: int = 500
    viewers: int = 2000
    seconds: float = 40
    interval_ms: float = 1000
    timeout_ms: int = 2000
    slots: int = 500

    @property
    def tokens(self) -> int:
        return int(self.seconds * 1000 / self.interval_ms)


@dataclass
class Report:
    """What was seen. `lost`, `doubled`: deliveries, over all viewers. `longest_s`: the longest silence of a viewer."""

    events: int = 0
    deliveries: int = 0
    connections: int = 0
    lost: int = 0
    doubled: int = 0
    gaps: Counter[str] = field(default_factory=Counter)
    attempts: int = 0
    longest_s: float = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0

    def line(self, plan: Plan) -> str:
        gaps = ", ".join(f"{count} {reason}" for reason, count in sorted(self.gaps.items())) or "0"
        return (
            f"{plan.scenario:8} {plan.jobs} jobs, {plan.viewers} viewers: lost {self.lost}, doubled {self.doubled},"
            f" gaps declared {gaps}; {self.events} events, {self.deliveries} delivered over {self.connections}"
            f" connections; {self.attempts} attempts; longest silence of a viewer {self.longest_s:.1f} s;"
            f" {self.seconds:.0f} s"
        )


class Deployment:
    """A cluster, a queue, gateways and workers."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self._processes = Processes(folder)
        self.queue = RedisServer(folder / "queue")
        self.cluster = RedisCluster(folder, replicas=1, timeout_ms=plan.timeout_ms)
        self._env = {
            "HOLDFAST_LOG_REDIS_URL": self.cluster.url,
            "HOLDFAST_MAX_JOBS": str(plan.jobs),
            "HOLDFAST_TENANT_QUEUE_LIMIT": str(2 * plan.jobs + 100),
            "HOLDFAST_MAX_ATTEMPTS": "100",
            "HOLDFAST_LOG_FORMAT": "json",
        }
        self.gateways: list[Gateway] = []
        self._workers: list[Process] = []

    @property
    def urls(self) -> list[str]:
        return [gateway.url for gateway in self.gateways]

    async def start(self) -> None:
        self.queue.start()
        await asyncio.to_thread(self.cluster.start)
        ports = [free_port() for _ in range(GATEWAYS)]
        self.gateways = [self._processes.gateway(self.queue.url, port=port, **self._env) for port in ports]
        self._workers = [self._processes.worker(self.queue.url, **self._env) for _ in range(WORKERS)]
        for gateway in self.gateways:
            await gateway.until_ready()
        for worker in self._workers:
            await worker.until_output("worker started")

    def close(self) -> None:
        self._processes.kill()
        self.cluster.kill()
        self.queue.kill()


class TimedTranscript(Transcript):
    """Also measures the longest time between two frames."""

    last_s: float = 0
    longest_s: float = 0

    def accept(self, frame: Any) -> None:
        now_s = time.monotonic()
        if self.last_s:
            self.longest_s = max(self.longest_s, now_s - self.last_s)
        self.last_s = now_s
        super().accept(frame)


class Workload:
    """The jobs, each in a session of its own, and the viewers of those sessions."""

    def __init__(self, deployment: Deployment, plan: Plan) -> None:
        self._deployment = deployment
        self._plan = plan
        self.history = History()
        self.sessions = [f"s{number}" for number in range(plan.jobs)]
        self.watchers: list[Watcher] = []
        self.transcripts: list[TimedTranscript] = []
        self._tasks: list[asyncio.Task[None]] = []

    async def begin(self) -> None:
        """Post all jobs and let all viewers come; return once each viewer has seen its job begin."""
        slots = asyncio.Semaphore(POSTING)
        async with httpx2.AsyncClient(trust_env=False, timeout=20) as client:
            await asyncio.gather(*(self._post(client, slots, session_id) for session_id in self.sessions))
        for number in range(self._plan.viewers):
            session_id = self.sessions[number % len(self.sessions)]
            transcript = TimedTranscript(session_id, f"viewer {number} of {session_id}")
            self.transcripts.append(transcript)
            path = f"/v1/sessions/{session_id}/events?raw=true"
            self.watchers.append(Watcher(self._deployment.urls, path, transcript, number))
            self._tasks.append(asyncio.create_task(self.watchers[-1].watch()))
        self.history.transcripts = [*self.transcripts]
        await until(lambda: all(transcript.steps for transcript in self.transcripts), SETTLE_S)

    async def end(self) -> None:
        await dismiss(self._tasks)

    async def _post(self, client: httpx2.AsyncClient, slots: asyncio.Semaphore, session_id: str) -> None:
        options = {"tokens": self._plan.tokens, "interval_ms": self._plan.interval_ms}
        async with slots:
            answer = await client.post(
                f"{self._deployment.urls[0]}/v1/sessions/{session_id}/jobs",
                json={"agent": "scripted", "input": "x", "options": options},
            )
        assert answer.status_code == 202, answer.text
        self.history.accepted.add((session_id, answer.json()["job_id"]))


class Scenario:
    """What is done to the first master of a cluster."""

    def __init__(self, cluster: RedisCluster, plan: Plan) -> None:
        self._cluster = cluster
        self._plan = plan
        self._master = cluster.masters[0]
        self._replica = cluster.replica_of(self._master)

    def run(self) -> None:
        """Carry the scenario out; blocks until the cluster has settled."""
        acts: dict[str, Callable[[], None]] = {
            "killed": self._kill,
            "frozen": self._freeze,
            "planned": self._plan_failover,
            "cut": self._cut,
            "reshard": self._reshard,
        }
        acts[self._plan.scenario]()

    def _kill(self) -> None:
        self._master.kill()
        self._await_promotion()

    def _freeze(self) -> None:
        self._master.stop()
        self._await_promotion()
        time.sleep(LINGER_S)
        self._master.cont()
        wait(lambda: _role(self._master) == "slave")

    def _plan_failover(self) -> None:
        self._replica.call("CLUSTER", "FAILOVER")
        self._await_promotion()

    def _cut(self) -> None:
        """The replica may not log in to its master any more: it lacks what is written from now on."""
        self._replica.call("CONFIG", "SET", "masteruser", "nobody", "masterauth", "x")
        self._master.call("CLIENT", "KILL", "TYPE", "replica")
        time.sleep(CUT_S)
        self._master.kill()
        self._await_promotion()

    def _reshard(self) -> None:
        target = self._cluster.masters[1]
        for slot in self._slots_in_use()[: self._plan.slots]:
            self._cluster.move_slot(slot, self._master, target)

    def _slots_in_use(self) -> list[int]:
        """The slots of the master, those with sessions first."""
        mine = range(SLOTS // 3)
        used = {slot_of(f"{{s{number}}}") for number in range(self._plan.jobs)}
        return sorted(mine, key=lambda slot: slot not in used)

    def _await_promotion(self) -> None:
        wait(lambda: _role(self._replica) == "master")


def _role(node: ClusterServer) -> str:
    try:
        return str(node.call("ROLE")[0], "ascii")
    except RedisError:
        return ""


async def run(plan: Plan, folder: Path) -> Report:
    """One scenario from start to verdict."""
    report, began_s = Report(), time.monotonic()
    deployment = Deployment(folder, plan)
    try:
        await deployment.start()
        workload = Workload(deployment, plan)
        try:
            await workload.begin()
            await asyncio.to_thread(Scenario(deployment.cluster, plan).run)
            await _until_ended(deployment, plan)
            await _judge(report, deployment, workload, plan)
        finally:
            await workload.end()
    finally:
        deployment.close()
    report.seconds = time.monotonic() - began_s
    return report


async def _until_ended(deployment: Deployment, plan: Plan) -> None:
    queue = connect(deployment.queue.url, max_connections=1)

    async def empty() -> bool:
        await asyncio.sleep(0.2)
        return bool(await queue.hlen(ENTRIES) == 0)

    try:
        await until(empty, plan.seconds + SETTLE_S, lambda: "the queue to be empty")
    finally:
        await queue.aclose()


async def _judge(report: Report, deployment: Deployment, workload: Workload, plan: Plan) -> None:
    connections = connect_logs(deployment.cluster.url, max_connections=4, deadline_s=10)
    log, history = EventLog(connections), workload.history
    logs = {session_id: await final_log(log, session_id) for session_id in workload.sessions}
    with contextlib.suppress(AssertionError):  # who lacks something is found below
        await until(lambda: all(_complete(one, logs[one.session_id]) for one in workload.transcripts), 30)
    await workload.end()
    report.violations = history.violations(logs) + history.incomplete(logs)
    for transcript in workload.transcripts:
        _count(report, transcript, logs[transcript.session_id])
    for watcher in workload.watchers:
        report.violations += [f"{watcher.transcript.client} was refused with {s}" for s in watcher.refused]
        if not watcher.transcript.gaps() and watcher.text != words(plan.tokens):
            report.violations.append(f"{watcher.transcript.client} has another text than the agent says")
    for session_id in workload.sessions:
        entries, _ = await log.backwards(session_id, ORIGIN, None, 1_000_000)
        if [*texts_of(entries).values()] != [{None: words(plan.tokens)}]:
            report.violations.append(f"the log of {session_id} has another text than the agent says")
    for events in logs.values():
        report.events += len(events)
        report.attempts += sum(event.kind == "job.started" for event in events)
    await connections.aclose()


def _complete(transcript: Transcript, log: list[Told]) -> bool:
    return bool(log) and transcript.cursor == log[-1].id


def _count(report: Report, transcript: TimedTranscript, log: list[Told]) -> None:
    told = [step for step in transcript.steps if isinstance(step, Told)]
    gaps = transcript.gaps()
    report.deliveries += len(told)
    report.connections += transcript.connections
    report.gaps.update(gap.reason for gap in gaps)
    report.longest_s = max(report.longest_s, transcript.longest_s)
    if not gaps:
        report.lost += len({event.id for event in log} - {event.id for event in told})
        report.doubled += len(told) - len({event.id for event in told})


def main() -> int:
    names = ["killed", "frozen", "planned", "cut", "reshard"]
    parser = argparse.ArgumentParser(prog="scripts/failover", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"of {', '.join(names)}; by default all")
    parser.add_argument("--jobs", type=int, default=Plan.jobs)
    parser.add_argument("--viewers", type=int, default=Plan.viewers)
    parser.add_argument("--seconds", type=float, default=Plan.seconds, help="that each job streams")
    parser.add_argument("--interval-ms", type=float, default=Plan.interval_ms, help="between two events of a job")
    given = parser.parse_args()
    if unknown := set(given.scenarios) - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    failed = False
    for name in given.scenarios or names:
        plan = Plan(name, given.jobs, given.viewers, given.seconds, given.interval_ms)
        folder = Path(tempfile.mkdtemp(prefix=f"failover-{name}-"))
        report = asyncio.run(run(plan, folder))
        sys.stdout.write("\n".join([report.line(plan), *(f"    {one}" for one in report.violations[:10])]) + "\n")
        sys.stdout.flush()
        failed = failed or bool(report.violations)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
