# ruff: noqa: INP001, T201 - a script that prints
"""What deploy/scale-check runs. Python 3.11's standard library only; bounded in jobs and in time.

COMPOSE (`docker compose`) and ENGINE (`docker`, for killing one container) say how containers are handled. The stack
has a project name, a port and volumes of its own, so that one that runs already is left alone.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import random
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PROJECT = "holdfast-scale-check"
WORKERS, GATEWAYS, JOBS, WATCHED = 3, 2, 60, 3
TOKENS, INTERVAL_MS = 150, 100
KILL_AFTER_EVENTS = 40

BUILD_S, COMMAND_S, READY_S, JOBS_S, ANSWER_S = 900, 120, 120, 180, 45
ENDED = ("completed", "failed", "cancelled")


class CheckFailed(Exception):
    """The check could not be carried out, or took too long."""


# The stack.


class Stack:
    """The compose project. Every call raises CheckFailed when it does not work out in time."""

    def __init__(self, port: int) -> None:
        self._compose = [*shlex.split(os.environ.get("COMPOSE", "docker compose")), "-p", PROJECT]
        self._engine = shlex.split(os.environ.get("ENGINE", "docker"))
        self._env = os.environ | {
            "HOLDFAST_PORT": str(port),
            "HOLDFAST_SCRIPTED_AGENT": "1",
            "HOLDFAST_WORKERS": str(WORKERS),
            "HOLDFAST_GATEWAYS": str(GATEWAYS),
            "HOLDFAST_REDIS_URL": "redis://redis:6379/0",
            "HOLDFAST_LOG_REDIS_URL": "",
        }

    def up(self) -> None:
        self._run([*self._compose, "build"], BUILD_S)
        self._run([*self._compose, "up", "-d"], COMMAND_S)

    def down(self) -> None:
        self._run([*self._compose, "down", "--volumes", "--timeout", "5"], COMMAND_S)

    def healthy(self, service: str, index: int) -> bool:
        """Whether the health check of one container of the service succeeds."""
        return self._exec(service, index, ["python", "/opt/holdfast/health.py", service]).returncode == 0

    def host_name(self, service: str, index: int) -> str:
        """A container's name for itself: the beginning of its id."""
        return self._exec(service, index, ["python", "-c", "import socket; print(socket.gethostname())"]).stdout.strip()

    def kill(self, host_name: str) -> None:
        self._run([*self._engine, "kill", "--signal", "KILL", host_name], COMMAND_S)

    def logs(self) -> str:
        return self._call([*self._compose, "logs", "--tail", "40"], COMMAND_S).stdout

    def _exec(self, service: str, index: int, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
        return self._call([*self._compose, "exec", "-T", "--index", str(index), service, *command], COMMAND_S)

    def _run(self, command: Sequence[str], timeout_s: float) -> None:
        done = self._call(command, timeout_s)
        if done.returncode != 0:
            raise CheckFailed(
                f"{shlex.join(command)} exited with {done.returncode}\n{done.stdout[-2000:]}{done.stderr[-4000:]}"
            )

    def _call(self, command: Sequence[str], timeout_s: float) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                cwd=ROOT,
                env=self._env,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=timeout_s,
                check=False,
            )
        except FileNotFoundError:
            raise CheckFailed(f"{command[0]} is not there; COMPOSE and ENGINE say what to use instead") from None
        except subprocess.TimeoutExpired:
            raise CheckFailed(f"{shlex.join(command)} did not end within {timeout_s} s") from None


# HTTP, through the proxy.


@dataclass(frozen=True)
class Door:
    """The proxy's published port."""

    port: int

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """One request: the status, and the JSON of the answer. Status 0 when there is none."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_S)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": "application/json"} | (headers or {}))
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException, ValueError):
            return 0, None
        finally:
            connection.close()

    def submit(self, session_id: str) -> str:
        """Queue a scripted job; the id of the job. The key makes it one job, however often it has to be sent."""
        body = {"agent": "scripted", "input": "go", "options": {"tokens": TOKENS, "interval_ms": INTERVAL_MS}}
        key = {"Idempotency-Key": secrets.token_hex(8)}
        status, answer = 0, None
        for _ in range(5):
            status, answer = self.call("POST", f"/v1/sessions/{session_id}/jobs", body, key)
            if status == 202:
                return str(answer["job_id"])
            time.sleep(1)
        raise CheckFailed(f"a job was not accepted: {status} {answer}")

    def job(self, session_id: str, job_id: str) -> dict[str, Any]:
        status, answer = self.call("GET", f"/v1/sessions/{session_id}/jobs/{job_id}")
        return answer if status == 200 else {"status": f"HTTP {status}", "worker": None, "attempt": 0}


@dataclass(frozen=True)
class Event:
    id: str
    data: str

    @property
    def type(self) -> str:
        return str(json.loads(self.data)["type"])


def parse_events(lines: Iterator[bytes]) -> Iterator[Event]:
    """The events of a stream that have an id and data, and those that say that something is missing."""
    event_id, data = "", ""
    for line in lines:
        name, _, value = line.decode().rstrip("\n").partition(": ")
        if name == "id":
            event_id = value
        elif name == "data":
            data = value
        elif not name and not value:
            if data and (event_id or '"type":"gap"' in data):
                yield Event(event_id, data)
            event_id, data = "", ""


@dataclass
class Viewer:
    """Reads a job's events to their end. With `hops`, it leaves every few events and comes back with its cursor."""

    door: Door
    path: str
    hops: bool
    events: list[Event] = field(default_factory=list)
    gateways: Counter[str] = field(default_factory=Counter)
    ended: bool = False

    def run(self) -> None:
        deadline = time.monotonic() + JOBS_S
        while not self.ended and time.monotonic() < deadline:
            try:
                self._visit(random.randint(1, 12) if self.hops else sys.maxsize)  # noqa: S311 - how long it stays
            except (OSError, http.client.HTTPException):
                time.sleep(0.2)

    def _visit(self, most: int) -> None:
        """One connection: read at most so many events, or to the end."""
        connection = http.client.HTTPConnection("127.0.0.1", self.door.port, timeout=ANSWER_S)
        with contextlib.closing(connection):
            connection.request("GET", self.path, headers=self._headers())
            answer = connection.getresponse()
            self.gateways[answer.headers.get("Holdfast-Gateway", "none")] += 1
            self.ended = answer.status == 204
            if answer.status != 200:
                time.sleep(0.2)
                return
            for _, event in zip(range(most), parse_events(iter(answer.readline, b"")), strict=False):
                self.events.append(event)

    def _headers(self) -> dict[str, str]:
        cursor = {"Last-Event-ID": self.events[-1].id} if self.events else {}
        return {"Accept": "text/event-stream"} | cursor


# What is looked for.


def lost(seen: Sequence[Event], log: Sequence[Event]) -> int:
    """How many events of the log were not seen."""
    return len(set(log) - set(seen))


def twice(seen: Sequence[Event]) -> int:
    """How many events were seen again."""
    return len(seen) - len({event.id for event in seen})


def faults(log: Sequence[Event]) -> list[str]:
    """What is wrong with the events of one job: gaps, holes, order, its end, or its text."""
    found = [f"gap: {event.data}" for event in log if event.type == "gap"]
    ids = [tuple(map(int, event.id.split("-"))) for event in log if event.id]
    for before, after in itertools.pairwise(ids):
        if after != (before[0], before[1] + 1) and not (after[0] > before[0] and after[1] == 1):
            found.append(f"{after} follows {before}")
    kinds = Counter(event.type for event in log if event.type.removeprefix("job.") in ENDED)
    if kinds != {"job.completed": 1} or log[-1].type != "job.completed":
        found.append(f"its ends: {dict(kinds)}")
    if text_of(log) != "".join(f"w{number} " for number in range(TOKENS)):
        found.append("the text of its last attempt is not what the agent said")
    return found


def text_of(log: Sequence[Event]) -> str:
    """The text of the latest attempt."""
    text = ""
    for body in (json.loads(event.data) for event in log):
        if body["type"] == "job.started":
            text = ""
        elif body["type"] == "text.delta":
            text += body["text"]
    return text


@dataclass
class Report:
    """Collects what was found, a line each."""

    failed: bool = False

    def check(self, held: bool, text: str) -> None:
        print(f"{'ok    ' if held else 'FAILED'} {text}")
        self.failed = self.failed or not held


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Look every fifth of a second until it is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise CheckFailed(f"not within {timeout_s} s: {what}")
        time.sleep(0.2)


# The check.


class ScaleCheck:
    def __init__(self, stack: Stack, door: Door) -> None:
        self._stack, self._door = stack, door
        self._report = Report()
        run = secrets.token_hex(4)
        self._sessions = [f"scale-{run}-{number}" for number in range(JOBS)]
        self._jobs: dict[str, str] = {}

    def run(self) -> bool:
        """Whether everything held."""
        hosts = self._wait_until_ready()
        began = time.monotonic()
        self._jobs = {session: self._door.submit(session) for session in self._sessions}
        print(f"{JOBS} jobs of {TOKENS} events accepted in {time.monotonic() - began:.1f} s")
        viewers = self._watch()
        first = self._started()
        victim = self._kill_one(first, viewers)
        states = self._ended()
        print(f"all jobs ended {time.monotonic() - began:.1f} s after the first was sent\n")
        self._judge_workers(hosts, victim, first, states)
        self._judge_viewers(viewers)
        self._judge_logs()
        self._judge_stack(hosts, victim)
        return not self._report.failed

    def _wait_until_ready(self) -> list[str]:
        for service, count in (("gateway", GATEWAYS), ("worker", WORKERS)):
            for index in range(1, count + 1):
                until(lambda s=service, i=index: self._stack.healthy(s, i), READY_S, f"{service} {index} is healthy")  # type: ignore[misc]
        until(lambda: self._door.call("GET", "/readyz")[0] == 200, READY_S, "the proxy finds a gateway that is ready")
        return [self._stack.host_name("worker", index) for index in range(1, WORKERS + 1)]

    def _watch(self) -> list[tuple[Viewer, Viewer, list[threading.Thread]]]:
        watched = []
        for session in self._sessions[:WATCHED]:
            path = f"/v1/sessions/{session}/jobs/{self._jobs[session]}/events?raw=true"
            pair = Viewer(self._door, path, hops=False), Viewer(self._door, path, hops=True)
            threads = [threading.Thread(target=viewer.run, daemon=True) for viewer in pair]
            for thread in threads:
                thread.start()
            watched.append((*pair, threads))
        return watched

    def _states(self) -> list[dict[str, Any]]:
        return [self._door.job(session, job) for session, job in self._jobs.items()]

    def _started(self) -> list[dict[str, Any]]:
        """Every job's state once all of them have a worker."""
        states: list[dict[str, Any]] = []

        def all_have_one() -> bool:
            states[:] = self._states()
            return all(state["worker"] for state in states)

        until(all_have_one, JOBS_S, "every job has a worker")
        return states

    def _kill_one(self, first: list[dict[str, Any]], viewers: list[tuple[Viewer, Viewer, Any]]) -> str:
        """SIGKILL the worker of the first watched job, in its middle."""
        hopper = viewers[0][1]
        until(lambda: len(hopper.events) >= KILL_AFTER_EVENTS, JOBS_S, "the first viewer has seen the beginning")
        victim = host_of(first[0])
        self._stack.kill(victim)
        print(f"worker {victim} killed after {len(hopper.events)} events of its first job")
        return victim

    def _ended(self) -> list[dict[str, Any]]:
        states: list[dict[str, Any]] = []

        def all_have() -> bool:
            states[:] = self._states()
            return all(state["status"] in ENDED for state in states)

        with contextlib.suppress(CheckFailed):
            until(all_have, JOBS_S, "every job has ended")
        return states

    def _judge_workers(self, hosts: list[str], victim: str, first: Any, states: Any) -> None:
        began, ended = Counter(map(host_of, first)), Counter(map(host_of, states))
        print(f"{'worker':<16}{'began':>6}{'ended':>6}")
        for host in hosts:
            print(f"{host:<16}{began[host]:>6}{ended[host]:>6}{'  killed' if host == victim else ''}")
        print()
        self._report.check(all(began[host] for host in hosts), f"each of {WORKERS} workers took some of {JOBS} jobs")
        outcomes = Counter(state["status"] for state in states)
        self._report.check(outcomes == {"completed": JOBS}, f"all jobs completed: {dict(outcomes)}")
        again = sum(state["attempt"] > 1 for state in states)
        self._report.check(
            again == began[victim], f"{again} jobs ran again, of {began[victim]} that the killed worker had"
        )

    def _judge_viewers(self, viewers: list[tuple[Viewer, Viewer, list[threading.Thread]]]) -> None:
        for number, (steady, hopper, threads) in enumerate(viewers):
            for thread in threads:
                thread.join(ANSWER_S)
            missing, again = lost(hopper.events, steady.events), twice(hopper.events)
            same = steady.ended and hopper.ended and hopper.events == steady.events
            self._report.check(
                same and len(hopper.gateways) == GATEWAYS and "none" not in hopper.gateways,
                f"viewer {number}: {len(hopper.events)} events over {hopper.gateways.total()} connections to"
                f" {len(hopper.gateways)} gateways {sorted(hopper.gateways.values())}, {missing} lost, {again} twice;"
                f" the steady viewer saw {len(steady.events)}",
            )

    def _judge_logs(self) -> None:
        wrong = []
        for session, job in self._jobs.items():
            reader = Viewer(self._door, f"/v1/sessions/{session}/jobs/{job}/events?raw=true", hops=False)
            reader.run()
            wrong += [f"{session}: {fault}" for fault in faults(reader.events)]
        self._report.check(
            not wrong, f"the events of all {JOBS} jobs are whole, in order, with one end {wrong[:5] or ''}"
        )

    def _judge_stack(self, hosts: list[str], victim: str) -> None:
        left = [index for index, host in enumerate(hosts, 1) if host != victim]
        up = [self._stack.healthy("worker", index) for index in left]
        up += [self._stack.healthy("gateway", index) for index in range(1, GATEWAYS + 1)]
        self._report.check(all(up), f"{sum(up)} of {len(up)} other workers and gateways are healthy")
        session = f"{self._sessions[0]}-after"
        job = self._door.submit(session)
        until(lambda: self._door.job(session, job)["status"] in ENDED, JOBS_S, "a later job has ended")
        self._report.check(self._door.job(session, job)["status"] == "completed", "a job queued afterwards completed")


def host_of(state: dict[str, Any]) -> str:
    """The host name in a job's worker id."""
    return str(state["worker"]).rpartition("-")[0]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def main() -> None:
    """Bring the stack up, check, remove it. Exits 1 when something did not hold."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    port = free_port()
    stack = Stack(port)
    held = False
    try:
        print(f"building and starting {WORKERS} workers, {GATEWAYS} gateways at 127.0.0.1:{port}", flush=True)
        stack.up()
        held = ScaleCheck(stack, Door(port)).run()
    except CheckFailed as error:
        print(f"FAILED {error}")
    finally:
        with contextlib.suppress(CheckFailed):
            if not held:
                print(stack.logs())
            stack.down()
    print("\nheld" if held else "\ndid not hold")
    sys.exit(not held)


if __name__ == "__main__":
    main()
