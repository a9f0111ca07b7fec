# ruff: noqa: T201 - a script that prints
"""The check itself."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from deploy.scale_check import (
    ANSWER_S,
    ENDED,
    GATEWAY_DIES_AFTER,
    GATEWAYS,
    JOBS,
    JOBS_S,
    READY_S,
    TICKET_S,
    TOKENS,
    WATCHED,
    WORKER_DIES_AFTER,
    WORKERS,
    CheckFailed,
)
from deploy.scale_check.door import Door
from deploy.scale_check.judgement import Report, faults, lost, twice
from deploy.scale_check.stack import Stack
from deploy.scale_check.viewer import Viewer

Watched = tuple[Viewer, Viewer, list[threading.Thread]]  # a steady one, one that hops, and their threads


def until(condition: Callable[[], bool], timeout_s: float, what: str) -> None:
    """Look every fifth of a second until it is so."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise CheckFailed(f"not within {timeout_s} s: {what}")
        time.sleep(0.2)


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
        victim, gateway = (
            self._kill_worker(first, viewers[0][1]),
            self._kill_gateway([hopper for _, hopper, _ in viewers]),
        )
        states = self._ended()
        print(f"all jobs ended {time.monotonic() - began:.1f} s after the first was sent\n")
        self._judge_workers(hosts, victim, first, states)
        self._judge_viewers(viewers)
        self._judge_logs()
        self._judge_stack([index for index, host in enumerate(hosts, 1) if host != victim], gateway)
        return not self._report.failed

    def _wait_until_ready(self) -> list[str]:
        until(lambda: self._door.call("GET", "/readyz")[0] == 200, READY_S, "the proxy finds a gateway that is ready")
        for service, count in (("gateway", GATEWAYS), ("worker", WORKERS)):
            for index in range(1, count + 1):
                until(lambda s=service, i=index: self._stack.healthy(s, i), READY_S, f"{service} {index} is healthy")  # type: ignore[misc]
        return [self._stack.host_name("worker", index) for index in range(1, WORKERS + 1)]

    def _viewer(self, session: str, *, hops: bool) -> Viewer:
        path = f"/v1/sessions/{session}/jobs/{self._jobs[session]}/events"
        return Viewer(self._door, path, hops, self._door.ticket(session))

    def _watch(self) -> list[Watched]:
        watched = []
        for session in self._sessions[:WATCHED]:
            pair = self._viewer(session, hops=False), self._viewer(session, hops=True)
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

    def _kill_worker(self, first: list[dict[str, Any]], hopper: Viewer) -> str:
        """SIGKILL the worker of the first watched job, in its middle."""
        until(lambda: len(hopper.events) >= WORKER_DIES_AFTER, JOBS_S, "the first viewer has seen the beginning")
        victim = host_of(first[0])
        self._stack.kill(victim)
        print(f"worker {victim} killed after {len(hopper.events)} events of its first job")
        return victim

    def _kill_gateway(self, hoppers: list[Viewer]) -> int:
        """SIGKILL the last gateway, in the middle of another watched job. Its index."""

        def all_were_at_both() -> bool:
            return all(len(hopper.gateways) == GATEWAYS for hopper in hoppers)

        seen = hoppers[1].events
        until(lambda: len(seen) >= GATEWAY_DIES_AFTER and all_were_at_both(), JOBS_S, "viewers have seen both gateways")
        self._stack.kill(self._stack.host_name("gateway", GATEWAYS))
        print(f"gateway {GATEWAYS} killed after {len(seen)} events of the second job")
        return GATEWAYS

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

    def _judge_viewers(self, viewers: list[Watched]) -> None:
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
        if self._door.token is not None:
            self._judge_tickets([viewer for watched in viewers for viewer in watched[:2]])
        if self._door.url.startswith("https:"):
            self._report.check(self._door.offers_http2(), "the certificate is valid, and HTTP/2 is offered")

    def _judge_tickets(self, viewers: list[Viewer]) -> None:
        renewals, refusals = sum(viewer.renewals for viewer in viewers), sum(viewer.refusals for viewer in viewers)
        self._report.check(
            all(viewer.renewals for viewer in viewers) and refusals == 0,
            f"{len(viewers)} viewers read with tickets of {TICKET_S} s: {renewals} renewed, {refusals} refused",
        )

    def _judge_logs(self) -> None:
        wrong = []
        for session in self._jobs:
            reader = self._viewer(session, hops=False)
            reader.run()
            wrong += [f"{session}: {fault}" for fault in faults(reader.events)]
        self._report.check(
            not wrong, f"the events of all {JOBS} jobs are whole, in order, with one end {wrong[:5] or ''}"
        )

    def _judge_stack(self, workers: list[int], dead_gateway: int) -> None:
        up = [self._stack.healthy("worker", index) for index in workers]
        up += [self._stack.healthy("gateway", index) for index in range(1, GATEWAYS + 1) if index != dead_gateway]
        self._report.check(all(up), f"{sum(up)} of {len(up)} other workers and gateways are healthy")
        session = f"{self._sessions[0]}-after"
        job = self._door.submit(session)
        until(lambda: self._door.job(session, job)["status"] in ENDED, JOBS_S, "a later job has ended")
        self._report.check(self._door.job(session, job)["status"] == "completed", "a job queued afterwards completed")


def host_of(state: dict[str, Any]) -> str:
    """The host name in a job's worker id."""
    return str(state["worker"]).rpartition("-")[0]
