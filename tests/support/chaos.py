"""Seeded chaos: jobs are queued and watched while workers, gateways and Redis are killed and frozen at random.

    scripts/chaos --seed 7 --minutes 5 --jobs 1000 --cluster

With `--cluster` the logs are on a Redis Cluster of three masters, whose slots are moved too. With `--far` the lease is
the default one, Redis is 40 ms away, and all connections to it are reset now and then. A third of the jobs complete
steps. Prints what was done and seen, and how long takeovers took. Ends with 1 when any event was lost, doubled
or reordered, any job has not exactly one end, any text is not just what its agent says, or a finished step was run
again or discarded.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import random
import re
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import httpx2
import orjson
from holdfast.shared.ids import ORIGIN
from holdfast.shared.keys import ENTRIES, LEASED, log_key
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import EventLog
from holdfast.shared.log.events import TERMINAL
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.cluster_slots import slot_of
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.redis.log_connections import connect_logs

from tests.support.fault_agents import RUNS, climbed
from tests.support.fault_proxy import FaultProxy, port_of
from tests.support.history import History, Told, final_log
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes, until
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_server import RedisServer
from tests.support.scene import words
from tests.support.steps import StepCounts, Texts, discarded_steps, texts_of
from tests.support.watcher import Watcher, dismiss

LEASE_S, DEFAULT_LEASE_S = 2.0, 10.0
LATENCY_S = 0.02  # each way
WORKERS = 3
CLUSTER_NODES = 3
MOVED_SLOTS = 10  # at a time
GATEWAYS = 2
SETTLE_S = 120.0
MANY_TAKEOVERS = 20  # of which some go on behind a step
AGENT = {
    "HOLDFAST_LEASE_SECONDS": str(LEASE_S),
    "HOLDFAST_MAX_ATTEMPTS": "100",  # who dies here is innocent
    "HOLDFAST_GRACE_SECONDS": "1",
    "HOLDFAST_LOG_FORMAT": "json",
    "HOLDFAST_AGENTS": "tests.support.fault_agents",
}


@dataclass(frozen=True)
class Plan:
    """`seed` decides every choice; an odd one keeps queue and logs on two servers. `pace`: by how much longer the time
    between two tokens is. `cluster`: the logs are on three. `far`: Redis is far away, and connections are lost."""

    seed: int
    minutes: float
    jobs: int
    pace: int = 1
    cluster: bool = False
    far: bool = False

    @property
    def two_servers(self) -> bool:
        return bool(self.seed % 2) or self.cluster

    @property
    def lease_s(self) -> float:
        return DEFAULT_LEASE_S if self.far else LEASE_S

    @property
    def servers(self) -> int:
        return 1 + CLUSTER_NODES if self.cluster else 1 + self.two_servers

    @property
    def sessions(self) -> int:
        return max(1, self.jobs // 4)

    @property
    def stay_s(self) -> float:
        """The longest time between two connections of a viewer: some twenty come back each second, not more."""
        return max(3.0, self.sessions / 10)


@dataclass
class Report:
    """What was done and seen. Takeover times are in seconds. `found`: the workers that others found dead, by the sign.
    `mistaken`: those of them that lived."""

    faults: Counter[str] = field(default_factory=Counter)
    ends: Counter[str] = field(default_factory=Counter)
    events: int = 0
    attempts: int = 0
    connections: int = 0
    deliveries: int = 0
    steps: StepCounts = field(default_factory=StepCounts)
    takeovers: list[float] = field(default_factory=list)
    undisturbed: list[float] = field(default_factory=list)
    found: Counter[str] = field(default_factory=Counter)
    mistaken: int = 0
    violations: list[str] = field(default_factory=list)
    seconds: float = 0

    def lines(self, plan: Plan) -> list[str]:
        return [
            f"seed {plan.seed}, {plan.jobs} jobs in {self.seconds:.0f} s, {plan.servers} Redis (AOF, always)",
            "faults      " + ", ".join(f"{name} {count}" for name, count in sorted(self.faults.items())),
            "ends        " + ", ".join(f"{name} {count}" for name, count in sorted(self.ends.items())),
            f"attempts    {self.attempts}",
            f"events      {self.events} in the logs, {self.deliveries} delivered over {self.connections} connections",
            f"steps       {self.steps.line()}",
            f"takeovers   {_spread(self.takeovers)}; with Redis up all along {_spread(self.undisturbed)}",
            f"found dead  by connection {self.found['connection']}, wrong guesses {self.mistaken}",
            f"            by heartbeat {self.found['heartbeat']}",
            f"violations  {len(self.violations)}",
            *(f"            {found}" for found in self.violations[:20]),
        ]


def _spread(times: Sequence[float]) -> str:
    if not times:
        return "none"
    ordered = sorted(times)
    p50, p99 = (ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.99))
    return f"{len(ordered)}, p50 {p50:.2f} s, p99 {p99:.2f} s"


@dataclass
class Death:
    """A worker that was killed, when, and what it held then."""

    at_s: float
    held: set[tuple[str, str]]


class Addresses(Protocol):
    """Where the gateways, the queue and the logs of a deployment are."""

    @property
    def urls(self) -> Sequence[str]: ...

    @property
    def queue_url(self) -> str: ...

    @property
    def log_url(self) -> str: ...


class Deployment:
    """The deployment under test: what stands where, and how each part is put up again after it was killed."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        self.processes = Processes(folder)
        durable: dict[str, Any] = {"aof": True, "fsync": "always"}
        self.cluster = RedisCluster(folder, masters=CLUSTER_NODES, **durable) if plan.cluster else None
        count = 1 if plan.cluster else plan.servers
        alone = [RedisServer(folder / f"redis-{n}", **durable) for n in range(count)]
        self.servers: list[RedisServer] = [*alone, *(self.cluster.nodes if self.cluster else ())]
        self.log_url = alone[-1].url if self.cluster is None else self.cluster.url
        self.proxies = [FaultProxy(port_of(server.url)) for server in alone] if plan.far else []
        self._env = AGENT | {"HOLDFAST_LEASE_SECONDS": str(plan.lease_s)}
        self._two_servers = plan.two_servers
        self._ports = [free_port() for _ in range(GATEWAYS)]
        self.urls = [f"http://127.0.0.1:{port}" for port in self._ports]
        self.gateways: list[Gateway] = []
        self.workers: list[Process] = []
        self.all_workers: list[Process] = []
        self._stack = AsyncExitStack()
        self.redis_trouble: list[tuple[float, float]] = []

    @property
    def queue_url(self) -> str:
        return self.servers[0].url

    async def start(self) -> None:
        if self.cluster is not None:
            await asyncio.to_thread(self.cluster.start)
        for server in self.servers:
            if self.cluster is None or server not in self.cluster.nodes:
                server.start()
        for proxy in self.proxies:
            await self._stack.enter_async_context(proxy)
            proxy.latency_s = LATENCY_S
        if self._two_servers:
            self._env["HOLDFAST_LOG_REDIS_URL"] = self.proxies[-1].url if self.proxies else self.log_url
        self.gateways = [self.gateway(number) for number in range(GATEWAYS)]
        self.workers = [self.worker() for _ in range(WORKERS)]
        for gateway in self.gateways:
            await gateway.until_ready()
        for worker in self.workers:
            await worker.until_output("worker started")

    def gateway(self, number: int) -> Gateway:
        return self.processes.gateway(self._url, port=self._ports[number], **self._env)

    def worker(self) -> Process:
        self.all_workers.append(self.processes.worker(self._url, **self._env))
        return self.all_workers[-1]

    @property
    def _url(self) -> str:
        """The address of the queue server, as the processes have it."""
        return self.proxies[0].url if self.proxies else self.queue_url

    async def close(self) -> None:
        self.processes.kill()
        await self._stack.aclose()
        for server in self.servers:
            server.kill()


class Chaos:
    """Does one thing to one process every second or so."""

    def __init__(self, deployment: Deployment, report: Report, plan: Plan) -> None:
        self._unmoved = list(range(plan.sessions))
        self.lease_s = plan.lease_s
        self._deployment = deployment
        self._report = report
        self._random = random.Random(plan.seed + 1)
        self.deaths: list[Death] = []

    async def rage(self, until_s: float) -> None:
        acts: dict[Callable[[], Awaitable[None]], int] = {
            self._kill_worker: 6,
            self._stop_worker: 2,
            self._freeze_worker: 2,
            self._kill_gateway: 3,
            self._stop_gateway: 1,
            self._kill_redis: 3,
            self._freeze_redis: 1,
        }
        if self._deployment.cluster is not None:
            acts[self._move_slots] = 6
        if self._deployment.proxies:
            acts[self._reset_connections] = 8
        while time.monotonic() < until_s:
            await asyncio.sleep(self._random.uniform(1, 5))
            act = self._random.choices(list(acts), list(acts.values()))[0]
            self._report.faults[act.__name__.strip("_").replace("_", " ")] += 1
            await act()

    async def _pause(self, most_s: float) -> None:
        await asyncio.sleep(self._random.uniform(0, most_s))

    async def _kill_worker(self) -> None:
        number = self._random.randrange(WORKERS)
        worker = self._deployment.workers[number]
        held = await self._held(worker)
        self.deaths.append(Death(time.time(), held))
        worker.kill()
        await self._pause(1)
        self._deployment.workers[number] = self._deployment.worker()

    async def _stop_worker(self) -> None:
        number = self._random.randrange(WORKERS)
        self._deployment.workers[number].terminate()
        self._deployment.workers[number] = self._deployment.worker()

    async def _freeze_worker(self) -> None:
        worker = self._random.choice(self._deployment.workers)
        worker.stop()
        await asyncio.sleep(self._random.uniform(0.5, 2.5) * LEASE_S)
        worker.cont()

    async def _kill_gateway(self) -> None:
        number = self._random.randrange(GATEWAYS)
        self._deployment.gateways[number].kill()
        await self._pause(1)
        self._deployment.gateways[number] = self._deployment.gateway(number)

    async def _stop_gateway(self) -> None:
        number = self._random.randrange(GATEWAYS)
        gateway = self._deployment.gateways[number]
        gateway.terminate()
        if await gateway.wait() != 0:
            self._report.violations.append(f"a gateway ended with {await gateway.wait()} after SIGTERM")
        self._deployment.gateways[number] = self._deployment.gateway(number)

    async def _kill_redis(self) -> None:
        server, began_s = self._random.choice(self._deployment.servers), time.time()
        server.kill()
        await self._pause(1)
        server.start()
        self._deployment.redis_trouble.append((began_s, time.time()))

    async def _freeze_redis(self) -> None:
        server, began_s = self._random.choice(self._deployment.servers), time.time()
        server.stop()
        await asyncio.sleep(self._random.uniform(0.5, 2 * LEASE_S))
        server.cont()
        self._deployment.redis_trouble.append((began_s, time.time()))

    async def _reset_connections(self) -> None:
        self._random.choice(self._deployment.proxies).reset()

    async def _move_slots(self) -> None:
        """Move the slots of some sessions to other masters, again where a node refuses that since it just started."""
        cluster = self._deployment.cluster
        assert cluster is not None
        moved = self._random.sample(self._unmoved, min(MOVED_SLOTS, len(self._unmoved)))
        for number in moved:
            self._unmoved.remove(number)  # nodes may disagree for good about a slot that moves again soon
            key = log_key(f"s{number}")
            target = self._random.choice(cluster.masters)
            await until(partial(asyncio.to_thread, cluster.try_move, slot_of(key), target), SETTLE_S)

    async def _held(self, worker: Process) -> set[tuple[str, str]]:
        """The (session, job) of each entry that the worker leases; none when the queue does not answer."""
        name = next((line["worker_id"] for line in _lines(worker) if line.get("event") == "worker started"), "")
        redis = connect(self._deployment.queue_url, max_connections=1, socket_timeout_s=0.5)
        try:
            entries = [entry.decode().split("/") for entry in await redis.smembers(LEASED + name)]
        except RedisError:
            return set()
        finally:
            await redis.aclose()
        return {(session_id, job_id) for session_id, job_id in entries if job_id}


def _lines(process: Process) -> list[dict[str, str]]:
    lines = [line for line in process.output().splitlines() if line.startswith("{")]
    return [orjson.loads(line) for line in lines[:5]]


class Workload:
    """Who posts, cancels and watches."""

    def __init__(self, deployment: Addresses, history: History, plan: Plan, report: Report) -> None:
        self._deployment = deployment
        self._history = history
        self._plan = plan
        self._report = report
        self._random = random.Random(plan.seed)
        self._client = httpx2.AsyncClient(trust_env=False, timeout=20)
        self._tasks: set[asyncio.Task[None]] = set()
        self.watchers: list[Watcher] = []
        self.readers: dict[str, Watcher] = {}
        self.expected: dict[str, Texts] = {}
        self.posting: set[asyncio.Task[None]] = set()

    async def post_all(self, seconds: float) -> None:
        """Post all jobs over so many seconds, some sessions with several in line."""
        sessions = self._plan.sessions
        for number in range(self._plan.jobs):
            session_id = f"s{self._random.randrange(sessions)}"
            posting = asyncio.create_task(self._post(session_id, number))
            self.posting.add(posting)
            await asyncio.sleep(self._random.uniform(0, 2 * seconds / self._plan.jobs))
        await asyncio.gather(*self.posting)

    async def _post(self, session_id: str, number: int) -> None:
        cancel, read, climbs = (self._random.random() < share for share in (0.05, 0.3, 0.33))
        interval_ms = self._plan.pace * self._random.choice([10, 40, 120] if climbs else [0, 10, 40])
        options: dict[str, int] = {"interval_ms": interval_ms}
        if climbs:
            options |= {"steps": self._random.randint(1, 12)}
            text = climbed(options["steps"])
        else:
            options |= {"tokens": self._random.randint(1, 60), "tools": self._random.randrange(2)}
            text = {None: words(options["tokens"])}
        body = {"agent": "climbs" if climbs else "scripted", "input": f"job {number}", "options": options}
        job = await self._call(f"/v1/sessions/{session_id}/jobs", body, f"key-{number}")
        self._history.accepted.add((session_id, job["job_id"]))
        self.expected[job["job_id"]] = text
        self._watch(session_id)
        if read:
            self._read(session_id, job["job_id"])
        if cancel:
            await asyncio.sleep(self._random.uniform(0, 1))
            await self._call(f"/v1/sessions/{session_id}/jobs/{job['job_id']}/cancel", {}, "")

    async def _call(self, path: str, body: Mapping[str, object], key: str) -> dict[str, str]:
        """Ask until somebody answers with 202; a job under the same key each time."""
        headers = {"Idempotency-Key": key} if key else {}
        while True:
            with contextlib.suppress(httpx2.TransportError):
                answer = await self._client.post(
                    self._random.choice(self._deployment.urls) + path, json=body, headers=headers
                )
                if answer.status_code == 202:
                    found: dict[str, str] = answer.json()
                    return found
                if answer.status_code not in (429, 503):
                    raise AssertionError(f"{path} was answered {answer.status_code} {answer.text}")
            await asyncio.sleep(self._random.uniform(0.05, 0.5))

    def _watch(self, session_id: str) -> None:
        if any(watcher.transcript.session_id == session_id for watcher in self.watchers):
            return
        transcript = self._history.client(session_id, f"watcher of {session_id}")
        path = f"/v1/sessions/{session_id}/events?raw=true"
        self.watchers.append(
            self._begin(Watcher(self._deployment.urls, path, transcript, self._seed(), stay_s=self._plan.stay_s))
        )

    def _read(self, session_id: str, job_id: str) -> None:
        transcript = self._history.client(session_id, f"reader of {job_id}", raw=False)
        path = f"/v1/sessions/{session_id}/jobs/{job_id}/events"
        reader = Watcher(self._deployment.urls, path, transcript, self._seed(), stay_s=self._plan.stay_s)
        self.readers[job_id] = self._begin(reader)

    def _begin(self, watcher: Watcher) -> Watcher:
        self._tasks.add(asyncio.create_task(watcher.watch()))
        return watcher

    def _seed(self) -> int:
        return self._random.randrange(2**32)

    async def go(self) -> None:
        tasks = [*self._tasks, *self.posting]
        await dismiss(tasks)
        errors = [task.exception() for task in tasks if not task.cancelled()]
        self._report.violations += [f"{type(error).__name__}: {error}" for error in errors if error is not None]
        await self._client.aclose()


class Judge:
    """Looks at the servers from behind, waits for the end of everything, and compares."""

    def __init__(self, deployment: Addresses, history: History) -> None:
        self._history = history
        self._queue = connect(deployment.queue_url, max_connections=2)
        self._logs = connect_logs(deployment.log_url, max_connections=4, deadline_s=10)
        self._redis = self._logs.servers[0].redis
        self._log = EventLog(self._logs)

    async def close(self) -> None:
        await self._queue.aclose()
        await self._logs.aclose()

    async def all_ended(self) -> None:
        """Wait until no entry is left."""

        async def empty() -> bool:
            await asyncio.sleep(0.2)
            try:
                return bool(await self._queue.hlen(ENTRIES) == 0)
            except RedisError:
                return False

        await until(empty, SETTLE_S, lambda: "the queue to be empty")

    async def logs(self) -> dict[str, list[Told]]:
        sessions = {session_id for session_id, _ in self._history.accepted}
        return {session_id: await final_log(self._log, session_id) for session_id in sessions}

    async def entries(self, session_id: str) -> Sequence[Entry]:
        """The whole log of a session."""
        return (await self._log.backwards(session_id, ORIGIN, None, 1_000_000))[0]

    async def runs(self, job_id: str) -> list[str]:
        """How often the steps of a job were run, see tests.support.fault_agents."""
        return [line.decode() for line in await self._redis.smembers(RUNS + job_id)]

    async def starts(self, session_id: str) -> list[tuple[str, int, int]]:
        """(job, attempt, when) of each start in the log; when in ms since 1970."""
        bodies = [orjson.loads(entry.body) for entry in await self.entries(session_id) if entry.kind == "job.started"]
        return [(body["job_id"], body["attempt"], body["at"]) for body in bodies]


async def run(plan: Plan, folder: Path) -> Report:
    """One run from start to verdict."""
    report, history, deployment = Report(), History(), Deployment(folder, plan)
    began_s = time.monotonic()
    try:
        await deployment.start()
        workload = Workload(deployment, history, plan, report)
        judge = Judge(deployment, history)
        chaos = Chaos(deployment, report, plan)
        try:
            await _let_loose(plan, workload, chaos)
            await _judge(report, history, workload, judge, chaos, deployment)
        finally:
            await workload.go()
            await judge.close()
    finally:
        await deployment.close()
    report.seconds = time.monotonic() - began_s
    return report


async def _let_loose(plan: Plan, workload: Workload, chaos: Chaos) -> None:
    seconds = plan.minutes * 60
    raging = asyncio.create_task(chaos.rage(time.monotonic() + seconds))
    await workload.post_all(seconds * 0.9)
    await raging


async def _judge(
    report: Report, history: History, workload: Workload, judge: Judge, chaos: Chaos, deployment: Deployment
) -> None:
    with contextlib.suppress(AssertionError):  # what has no end is found below
        await judge.all_ended()
    logs = await judge.logs()
    await _all_told(workload, logs)
    report.violations += history.violations(logs) + history.incomplete(logs)
    report.violations += [
        f"P1 {reader.transcript.client} has another text than the agent said"
        for job_id, reader in workload.readers.items()
        if reader.transcript.events()[-1:] and reader.transcript.events()[-1].kind == "job.completed"
        if reader.texts != workload.expected[job_id]
    ]
    await _judge_steps(report, workload, judge, list(logs))
    if report.steps.diverged:
        report.violations.append(f"P5 {report.steps.diverged} takeovers diverged though each attempt does the same")
    if report.steps.began_again >= MANY_TAKEOVERS and not report.steps.resumed:
        report.violations.append(f"P5 none of {report.steps.began_again} takeovers went on behind a step")
    for watcher in [*workload.watchers, *workload.readers.values()]:
        report.violations += [f"{watcher.transcript.client} was refused with {s}" for s in watcher.refused]
        report.connections += watcher.transcript.connections
        report.deliveries += len(watcher.transcript.steps)
        report.violations += [f"P3 {watcher.transcript.client} was told of {g}" for g in watcher.transcript.gaps()]
    readers = workload.readers.values()
    report.violations += [
        f"P4 {reader.transcript.client} never came to an end" for reader in readers if not reader.over
    ]
    for log in logs.values():
        report.events += len(log)
        report.attempts += sum(event.kind == "job.started" for event in log)
        report.ends.update(event.kind for event in log if event.kind in TERMINAL)
    await _takeovers(report, judge, chaos, deployment, list(logs))
    for worker in deployment.all_workers:
        output = worker.output()
        report.found.update(re.findall(r'"sign": ?"(\w+)"', output))
        report.mistaken += output.count("this worker was found dead")


async def _judge_steps(report: Report, workload: Workload, judge: Judge, sessions: Sequence[str]) -> None:
    """Whether each job's text is what its agent says, and no finished step was run again or discarded."""
    for session_id in sessions:
        entries = await judge.entries(session_id)
        report.violations += [
            f"P5 {session_id}: {step} was finished and discarded" for step in discarded_steps(entries)
        ]
        completed = [entry.job_id for entry in entries if entry.kind == "job.completed"]
        texts = texts_of(entries)
        report.violations += [
            f"P5 {session_id}: job {job_id} has another text than its agent says"
            for job_id in completed
            if texts.get(job_id) != workload.expected[job_id]
        ]
        report.steps.count(entries)
        for job_id in {entry.job_id for entry in entries}:
            report.violations += report.steps.count_runs(job_id, await judge.runs(job_id))


async def _all_told(workload: Workload, logs: dict[str, list[Told]]) -> None:
    """Wait until every viewer has all there is; who does not is found by the comparison."""

    def told() -> bool:
        watched = all(
            watcher.transcript.cursor == logs[watcher.transcript.session_id][-1].id
            for watcher in workload.watchers
            if logs[watcher.transcript.session_id]
        )
        return watched and all(reader.over for reader in workload.readers.values())

    with contextlib.suppress(AssertionError):
        await until(told, 60)


async def _takeovers(
    report: Report, judge: Judge, chaos: Chaos, deployment: Deployment, sessions: Sequence[str]
) -> None:
    """From the kill of a worker to the next start of each job that it held."""
    starts = {session_id: await judge.starts(session_id) for session_id in sessions}
    for death in chaos.deaths:
        for session_id, job_id in death.held:
            later = [at / 1000 for job, n, at in starts.get(session_id, ()) if job == job_id and n > 1]
            after = [at_s for at_s in later if at_s > death.at_s]
            if not after:
                continue  # it had just ended, or was cancelled
            report.takeovers.append(after[0] - death.at_s)
            window = death.at_s - chaos.lease_s, after[0]
            if not any(began < window[1] and ended > window[0] for began, ended in deployment.redis_trouble):
                report.undisturbed.append(after[0] - death.at_s)


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/chaos", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, default=None, help="decides every choice; drawn and printed when left out")
    parser.add_argument("--minutes", type=float, default=5)
    parser.add_argument("--jobs", type=int, default=1000)
    parser.add_argument("--far", action="store_true", help="the default lease, 40 ms to Redis, and lost connections")
    parser.add_argument("--cluster", action="store_true", help="keep the logs on a Redis Cluster")
    given = parser.parse_args()
    if given.far and given.cluster:
        parser.error("--far and --cluster exclude each other")
    seed = random.randrange(10**6) if given.seed is None else given.seed
    plan = Plan(seed, given.minutes, given.jobs, cluster=given.cluster, far=given.far)
    options = (" --cluster" if plan.cluster else "") + (" --far" if plan.far else "")
    sys.stdout.write(f"scripts/chaos --seed {plan.seed} --minutes {plan.minutes:g} --jobs {plan.jobs}{options}\n")
    folder = Path(tempfile.mkdtemp(prefix="chaos-"))
    report = asyncio.run(run(plan, folder))
    sys.stdout.write("\n".join(report.lines(plan)) + f"\nlogs of the processes: {folder}\n")
    return 1 if report.violations else 0


if __name__ == "__main__":
    sys.exit(main())
