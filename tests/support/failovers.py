"""Sentinel fails over while jobs stream to viewers; counts what each of the viewers lost, had twice, or was told of."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from holdfast.shared.ids import EventId
from holdfast.shared.log.events import TERMINAL

from tests.support.history import Gap, History, Told, Transcript, final_log
from tests.support.patience import patient
from tests.support.process import ROOT, Processes, until
from tests.support.sentinel import NAME, SentinelDeployment, sentinel_deployment
from tests.support.watcher import Watcher, dismiss
from tests.support.workers import Client

GATEWAYS = 2
WORKERS = 2
BEGUN_EVENTS = 4  # of each viewer, before the fault
CUT_SECONDS = 1.0
WAIT_S = 180
POSTS_AT_A_TIME = 50


@dataclass(frozen=True)
class Load:
    """`tokens` of each job, one every `interval_ms`."""

    jobs: int = 500
    viewers: int = 2000
    tokens: int = 120
    interval_ms: int = 500


@dataclass
class Result:
    """`silence_s`: the longest time in which a viewer of another process received no event. `lost`, `doubled`: events
    of all viewers that no gap declares. `attempts`: of the job with the most."""

    events: int = 0
    delivered: int = 0
    silence_s: float = 0
    lost: int = 0
    doubled: int = 0
    gaps: int = 0
    attempts: int = 0
    violations: tuple[str, ...] = ()

    def line(self, fault: str) -> str:
        return (
            f"{fault:8} {self.events:7} events {self.delivered:8} delivered; silence {self.silence_s:4.1f} s; "
            f"lost {self.lost}, doubled {self.doubled}, declared gaps {self.gaps}; at most {self.attempts} attempts; "
            f"violations {len(self.violations)}"
        )


async def killed(deployment: SentinelDeployment) -> None:
    """SIGKILL of the primary."""
    deployment.servers[0].kill()
    await deployment.moved()


async def frozen(deployment: SentinelDeployment) -> None:
    """SIGSTOP of the primary, and SIGCONT once it was replaced: it takes itself for the primary for a while."""
    deployment.servers[0].stop()
    await deployment.moved()
    deployment.servers[0].cont()


async def planned(deployment: SentinelDeployment) -> None:
    """SENTINEL FAILOVER."""
    assert deployment.sentinels[0].ask("FAILOVER", NAME)
    await deployment.moved()


async def cut(deployment: SentinelDeployment) -> None:
    """SIGKILL of the primary after its replicas were cut off: what they did not receive is lost with it."""
    deployment.proxy.cut("replica")
    await asyncio.sleep(CUT_SECONDS)
    await killed(deployment)


FAULTS: dict[str, Callable[[SentinelDeployment], Awaitable[None]]] = {
    fault.__name__: fault for fault in (killed, frozen, planned, cut)
}


class Audience:
    """The viewers, in turn of one session each."""

    def __init__(self, urls: list[str], load: Load, history: History) -> None:
        self.watchers: list[Watcher] = []
        for number in range(load.viewers):
            session = f"s{number % load.jobs}"
            transcript = history.client(session, f"viewer {number} of {session}")
            self.watchers.append(Watcher(urls, f"/v1/sessions/{session}/events?raw=true", transcript, number))
        self._tasks = {asyncio.create_task(watcher.watch()) for watcher in self.watchers}

    async def begun(self) -> None:
        """Wait until every viewer has some events. Fails if a job has ended by then."""
        steps = [watcher.transcript.steps for watcher in self.watchers]
        await until(lambda: all(len(received) >= BEGUN_EVENTS for received in steps), WAIT_S)
        ended = sum(isinstance(received[-1], Told) and received[-1].kind in TERMINAL for received in steps)
        assert not ended, f"{ended} viewers have the end of a job before the fault: more tokens are needed"

    async def ended(self, logs: dict[str, list[Told]]) -> None:
        """Wait until every viewer has the end of its log."""
        transcripts = [watcher.transcript for watcher in self.watchers]
        await until(lambda: all(one.cursor == logs[one.session_id][-1].id for one in transcripts), WAIT_S)

    async def close(self) -> None:
        await dismiss(self._tasks)


async def fail_over(fault: str, load: Load, folder: Path) -> Result:
    """Start a deployment and the load, and count what the fault costs."""
    processes = Processes(folder)
    async with sentinel_deployment(folder / "redis") as deployment:
        client = Client(deployment.url)
        try:
            gateways = [processes.gateway(deployment.url) for _ in range(GATEWAYS)]
            for _ in range(WORKERS):
                processes.worker(deployment.url, HOLDFAST_MAX_JOBS=str(load.jobs))
            for gateway in gateways:
                await gateway.until_ready()
            for redis in (client.redis, client.log_redis):
                patient(redis)
            await client.offered("scripted")
            await post(client, load)
            urls = [gateway.url for gateway in gateways]
            lone = processes.start([sys.executable, "-m", "tests.support.lone_viewer", urls[0], "s0"], ROOT)
            await lone.until_output("begun")
            result = await watched(FAULTS[fault], load, deployment, client, urls)
            await lone.wait()
            result.silence_s = float(lone.output().split()[-1])
            return result
        finally:
            await client.close()
            processes.kill()


async def post(client: Client, load: Load) -> None:
    options = {"tokens": load.tokens, "interval_ms": load.interval_ms}
    for first in range(0, load.jobs, POSTS_AT_A_TIME):
        numbers = range(first, min(first + POSTS_AT_A_TIME, load.jobs))
        await asyncio.gather(*(client.post(f"s{number}", options=options) for number in numbers))


async def watched(
    fault: Callable[[SentinelDeployment], Awaitable[None]],
    load: Load,
    deployment: SentinelDeployment,
    client: Client,
    urls: list[str],
) -> Result:
    """Watch the jobs to their end, with the fault once every viewer receives events."""
    history = History(accepted={(f"s{number}", "j1") for number in range(load.jobs)})
    audience = Audience(urls, load, history)
    try:
        await audience.begun()
        assert {*deployment.named()} == {deployment.proxy.port}, "a failover before the fault: this machine is too slow"
        await fault(deployment)
        for session, job in sorted(history.accepted):
            await client.until(session, job, lambda state: state.end is not None, WAIT_S)
        logs = {session: await final_log(client.log, session) for session, _ in history.accepted}
        await audience.ended(logs)
    finally:
        await audience.close()
    return count(history, logs)


def count(history: History, logs: dict[str, list[Told]]) -> Result:
    """Compare what each viewer received with the logs."""
    result = Result(events=sum(map(len, logs.values())))
    result.violations = tuple(history.violations(logs) + history.incomplete(logs))
    result.attempts = max(sum(event.kind == "job.started" for event in log) for log in logs.values())
    for transcript in history.transcripts:
        due = {event.id for event in logs[transcript.session_id]}
        result.delivered += len(transcript.steps)
        result.gaps += len(transcript.gaps())
        result.lost += len(due - {event.id for event in transcript.events()})
        result.doubled += doubled(transcript)
    return result


def doubled(transcript: Transcript) -> int:
    """How many events came again, though no gap had taken them back."""
    kept: set[EventId] = set()
    again = 0
    for step in transcript.steps:
        if isinstance(step, Gap):
            kept = {event_id for event_id in kept if event_id <= step.position}
        else:
            again += step.id in kept
            kept.add(step.id)
    return again


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/failover-sentinel", description=__doc__)
    parser.add_argument("faults", nargs="*", metavar="fault", help=f"{', '.join(FAULTS)}; all of them without a name")
    for name, value in vars(Load()).items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=value, help="%(default)s")
    given = vars(parser.parse_args())
    faults = given.pop("faults") or list(FAULTS)
    load = Load(**given)
    sys.stdout.write(f"{load.jobs} jobs, {load.viewers} viewers, a token every {load.interval_ms} ms\n")
    failed = 0
    for fault in faults:
        result = asyncio.run(fail_over(fault, load, Path(tempfile.mkdtemp(prefix=f"failover-{fault}-"))))
        sys.stdout.write("\n".join([result.line(fault), *result.violations[:10]]) + "\n")
        sys.stdout.flush()
        failed += bool(result.violations or result.lost or result.doubled)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
