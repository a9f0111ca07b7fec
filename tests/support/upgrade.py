"""Two releases side by side under load: jobs stream and viewers reconnect while the processes are of both.

    scripts/upgrade --from REV --jobs 300 --seconds 30

Each scenario has a Redis of its own. Prints what was lost, doubled and failed, and ends with 1 if anything was.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from holdfast.shared.log.events import TERMINAL

from tests.support.chaos import AGENT, Judge, Plan, Report, Workload
from tests.support.history import History, Told, Transcript
from tests.support.ports import free_port
from tests.support.process import Process, Processes, until
from tests.support.redis_server import RedisServer
from tests.support.releases import Release, check_out, previous_commit, this_release

GATEWAYS = WORKERS = 2
PACE = 3  # some forty jobs run at any time, which a worker that stops hands over
TOLD_S = 60
ENDS_WELL = {"job.completed", "job.cancelled"}


class Scenario(NamedTuple):
    """Which releases the gateways and the workers have at first, and later if they are replaced."""

    name: str
    gateways: tuple[Release, Release]
    workers: tuple[Release, Release]


def scenarios(old: Release, new: Release) -> list[Scenario]:
    return [
        Scenario("old workers, new gateways", (new, new), (old, old)),
        Scenario("new workers, old gateways", (old, old), (new, new)),
        Scenario("rolling upgrade", (old, new), (old, new)),
        Scenario("rolling back", (new, old), (new, old)),
    ]


@dataclass
class Findings:
    """What one scenario has shown. `lost` and `doubled` are events of viewers; `failed` describes everything else."""

    jobs: int = 0
    events: int = 0
    attempts: int = 0
    connections: int = 0
    replaced: int = 0
    lost: int = 0
    doubled: int = 0
    failed: list[str] = field(default_factory=list)
    ends: Counter[str] = field(default_factory=Counter)
    seconds: float = 0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.doubled or self.failed)

    def compare(self, transcript: Transcript, log: Sequence[Told]) -> None:
        """Count what a viewer of all events lacks, or has twice."""
        times = Counter(step.id for step in transcript.steps if isinstance(step, Told))
        self.lost += sum(event.id not in times for event in log)
        self.doubled += times.total() - len(times)

    def lines(self, name: str) -> list[str]:
        ends = ", ".join(f"{kind} {count}" for kind, count in sorted(self.ends.items()))
        return [
            f"{name}: {self.jobs} jobs in {self.seconds:.0f} s; {ends}",
            f"    {self.replaced} processes replaced, {self.attempts} attempts",
            f"    {self.events} events, {self.connections} connections of viewers",
            f"    lost {self.lost}, doubled {self.doubled}, failed {len(self.failed)}",
            *(f"        {found}" for found in self.failed[:20]),
        ]


class Mixed:
    """The deployment of a scenario."""

    def __init__(self, folder: Path, scenario: Scenario) -> None:
        self.server = RedisServer(folder / "redis", aof=True)
        self.queue_url = self.log_url = self.server.url
        self._processes = Processes(folder)
        self._scenario = scenario
        self._ports = [free_port() for _ in range(GATEWAYS)]
        self.urls = [f"http://127.0.0.1:{port}" for port in self._ports]
        self._gateways: list[Process] = []
        self._workers: list[Process] = []

    async def start(self) -> None:
        self.server.start()
        self._gateways = [self._gateway(self._scenario.gateways[0], port) for port in self._ports]
        self._workers = [self._worker(self._scenario.workers[0]) for _ in range(WORKERS)]
        for process in self._gateways:
            await process.until_output('"listening"')
        for process in self._workers:
            await process.until_output("worker started")

    async def replace(self, findings: Findings, seconds: float) -> None:
        """Replace the processes one after the other, gateways first, spread over so many seconds."""
        (before, gateways), (first, workers) = self._scenario.gateways, self._scenario.workers
        if before == gateways and first == workers:
            return
        pause_s = seconds / (GATEWAYS + WORKERS + 1)
        for number in range(GATEWAYS):
            await asyncio.sleep(pause_s)
            findings.failed += await stopped(self._gateways[number], "gateway")
            self._gateways[number] = self._gateway(gateways, self._ports[number])
            await self._gateways[number].until_output('"listening"')
            findings.replaced += 1
        for number in range(WORKERS):
            await asyncio.sleep(pause_s)
            started = self._worker(workers)
            await started.until_output("worker started")
            findings.failed += await stopped(self._workers[number], "worker")
            self._workers[number] = started
            findings.replaced += 1

    def close(self) -> None:
        self._processes.kill()
        self.server.kill()

    def _gateway(self, release: Release, port: int) -> Process:
        return self._start(release, "gateway", {"HOLDFAST_HOST": "127.0.0.1", "HOLDFAST_PORT": str(port)})

    def _worker(self, release: Release) -> Process:
        return self._start(release, "worker", {"HOLDFAST_SCRIPTED_AGENT": "1"})

    def _start(self, release: Release, program: str, env: Mapping[str, str]) -> Process:
        return self._processes.start(
            release.command(program), release.tree, HOLDFAST_REDIS_URL=self.server.url, **AGENT, **env
        )


async def stopped(process: Process, what: str) -> list[str]:
    """Stop a process as a deployment does. Returns what went wrong."""
    process.terminate()
    code = await process.wait()
    return [f"a {what} ended with {code} after SIGTERM"] if code else []


async def play(scenario: Scenario, plan: Plan, folder: Path) -> Findings:
    """Run one scenario from start to verdict."""
    findings, history, deployment = Findings(), History(), Mixed(folder, scenario)
    report, began_s = Report(), time.monotonic()
    try:
        await deployment.start()
        workload, judge = Workload(deployment, history, plan, report), Judge(deployment, history)
        try:
            seconds = plan.minutes * 60
            await asyncio.gather(workload.post_all(seconds), deployment.replace(findings, seconds))
            await judge.all_ended()
            await compare(findings, history, workload, judge)
        finally:
            await workload.go()
            await judge.close()
    except AssertionError as error:
        findings.failed.append(str(error))
    finally:
        deployment.close()
    findings.failed += report.violations
    findings.seconds = time.monotonic() - began_s
    return findings


async def compare(findings: Findings, history: History, workload: Workload, judge: Judge) -> None:
    """Compare what every viewer has received with the logs, and the texts of jobs with what their agents say."""
    logs = await judge.logs()
    readers = workload.readers.values()

    def told() -> bool:
        watched = (w.transcript.cursor == logs[w.transcript.session_id][-1].id for w in workload.watchers)
        return all(watched) and all(reader.over for reader in readers)

    try:
        await until(told, TOLD_S)
    except AssertionError:
        findings.failed.append(f"some viewers had not received everything after {TOLD_S} s")
    for watcher in workload.watchers:
        findings.compare(watcher.transcript, logs[watcher.transcript.session_id])
    for watcher in [*workload.watchers, *readers]:
        findings.connections += watcher.transcript.connections
        findings.failed += [f"{watcher.transcript.client}: status {status}" for status in watcher.refused]
        findings.failed += [f"{watcher.transcript.client}: {gap}" for gap in watcher.transcript.gaps()]
    findings.failed += history.violations(logs)
    findings.jobs = len(history.accepted)
    for log in logs.values():
        findings.events += len(log)
        findings.attempts += sum(event.kind == "job.started" for event in log)
        findings.ends.update(event.kind for event in log if event.kind in TERMINAL)
    findings.failed += [
        f"{count} jobs ended as {kind}" for kind, count in findings.ends.items() if kind not in ENDS_WELL
    ]
    findings.failed += [
        f"{reader.transcript.client} has another text than the agent's"
        for job_id, reader in workload.readers.items()
        if reader.transcript.events()[-1:] and reader.transcript.events()[-1].kind == "job.completed"
        if reader.texts != workload.expected[job_id]
    ]


async def play_all(old: Release, plan: Plan) -> bool:
    """Run all scenarios, one after the other, and print what each has shown. Returns whether all were clean."""
    clean = True
    for scenario in scenarios(old, this_release()):
        folder = Path(tempfile.mkdtemp(prefix="upgrade-"))
        findings = await play(scenario, plan, folder)
        sys.stdout.write("\n".join(findings.lines(scenario.name)) + f"\n    logs of the processes: {folder}\n")
        sys.stdout.flush()
        clean = clean and findings.clean
    return clean


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/upgrade", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--from", dest="revision", help="a commit or tag; the latest release when left out")
    parser.add_argument("--jobs", type=int, default=300, help="of each scenario")
    parser.add_argument("--seconds", type=float, default=30, help="over which these are submitted")
    parser.add_argument("--seed", type=int, default=8)
    given = parser.parse_args()
    try:
        old = check_out(given.revision or previous_commit())
    except subprocess.CalledProcessError as error:
        sys.exit(f"scripts/upgrade: {' '.join(map(str, error.cmd))} failed; git needs the history of the commit")
    sys.stdout.write(f"{old.name} and {this_release().name}\n")
    return 0 if asyncio.run(play_all(old, Plan(given.seed, given.seconds / 60, given.jobs, PACE))) else 1


if __name__ == "__main__":
    sys.exit(main())
