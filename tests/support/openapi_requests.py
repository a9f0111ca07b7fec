"""Requests that schemathesis makes from the OpenAPI document, and checks of the responses.

`scripts/schemathesis` is the long form; tests/integration/test_openapi_requests.py is the short one."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import requests
from holdfast.gateway.authentication.authenticator import USER_RIGHTS
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.offered_agents import OfferedAgents
from holdfast.shared.redis.client import connect
from hypothesis import HealthCheck, Phase, given, reject, seed, settings
from hypothesis import strategies as st
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode, openapi
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import Failure, FailureGroup
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.support.process import Gateway, Processes
from tests.support.redis_server import RedisServer

STREAMS = ("text/event-stream", "application/x-ndjson")
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
SECONDS = 10
MODES = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)


@dataclass
class Answers:
    """`statuses`: responses per operation and status. `wrong`: what differs from the document."""

    statuses: Counter[tuple[str, int]] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    @property
    def operations(self) -> set[str]:
        """The operations, such as `GET /v1/jobs`, that responded."""
        return {operation for operation, _ in self.statuses}

    def lines(self) -> list[str]:
        table = []
        for one in sorted(self.operations):
            counts = sorted((status, count) for (name, status), count in self.statuses.items() if name == one)
            table.append(f"| `{one}` | " + ", ".join(f"{count} x {status}" for status, count in counts) + " |")
        return [*table, "", f"{self.statuses.total():,} responses, {len(self.wrong)} wrong", *self.wrong[:20]]


class Attack:
    """Sends requests to the operations of a gateway, also about a session and a job that exist."""

    def __init__(self, url: str, headers: Mapping[str, str]) -> None:
        self.answers = Answers()
        self._url = url
        self._session = requests.Session()
        self._session.trust_env = False
        self._session.headers.update(headers)

    def run(self, examples: int, number: int) -> None:
        """Send to every operation `examples` requests that the document allows, and as many that it does not."""
        job = {"agent": "scripted", "input": "tea"}
        posted = self._session.post(f"{self._url}/v1/sessions/known/jobs", json=job, timeout=SECONDS)
        known = {"session_id": "known", "job_id": posted.json()["job_id"]}
        document = self._session.get(f"{self._url}/openapi.json", timeout=SECONDS).json()
        found = openapi.from_dict(document).get_all_operations()
        operations = [one.ok() for one in found if isinstance(one, Ok)]  # the short form looks for missing ones
        for operation in sorted(operations, key=lambda one: one.method == "delete"):  # what is known is deleted last
            for mode in MODES:
                self._send_examples(operation, mode, known, examples, number)
        self._session.close()

    def _send_examples(
        self, operation: Any, mode: GenerationMode, known: Mapping[str, str], examples: int, number: int
    ) -> None:
        @seed(number)
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), is_known=st.booleans())
        def send(case: Any, is_known: Any) -> None:
            if is_known and isinstance(case.body, dict) and "agent" in case.body:
                case.body["agent"] = "scripted"
            if is_known:
                case.path_parameters |= {name: known[name] for name in known.keys() & case.path_parameters.keys()}
            self._send(case, operation.label)

        with suppress(Unsatisfiable):  # nothing about an operation without parameters can be wrong
            send()

    def _send(self, case: Any, label: str) -> None:
        try:
            request = case.as_transport_kwargs(base_url=self._url)
            response = self._session.request(**request, timeout=SECONDS, stream=True, allow_redirects=False)
        except (requests.exceptions.InvalidHeader, requests.exceptions.InvalidURL, UnicodeError):
            reject()  # no client can send it
        if response.headers.get("content-type", "").startswith(STREAMS):
            response.close()
            vars(response).update(_content=b"")  # a stream has no end
        self.answers.statuses[label, response.status_code] += 1
        try:
            case.validate_response(response, checks=CHECKS)
        except (Failure, FailureGroup) as failure:
            details = [str(one) for one in getattr(failure, "exceptions", [failure])]
            self.answers.wrong.append(f"{label}: {response.status_code}: {' '.join(details)}"[:1000])


async def attack(gateway: Gateway, redis_url: str, *, authenticates: bool, examples: int, number: int) -> Answers:
    """Attack a gateway that runs, as a user with an API key if it authenticates."""
    redis = connect(redis_url, max_connections=1)
    await OfferedAgents(redis).offer({"scripted": {"type": "string"}})
    headers = {}
    if authenticates:
        _, token = await AuthStore(redis).create_key("acme", USER_RIGHTS)
        headers["Authorization"] = f"Bearer {token}"
    await redis.aclose()
    one = Attack(gateway.url, headers)
    await asyncio.to_thread(one.run, examples, number)
    return one.answers


async def attack_new(
    processes: Processes, redis_url: str, *, authenticates: bool, examples: int, number: int
) -> Answers:
    """Start a gateway, and attack it."""
    gateway = processes.gateway(redis_url, HOLDFAST_AUTH="keys" if authenticates else "off")
    await gateway.until_ready()
    return await attack(gateway, redis_url, authenticates=authenticates, examples=examples, number=number)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="scripts/schemathesis", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--examples", type=int, default=200, help="of each operation, allowed and not allowed")
    parser.add_argument("--seed", type=int, default=15)
    arguments = parser.parse_args()
    wrong = False
    with tempfile.TemporaryDirectory(prefix="schemathesis-") as folder:
        server, processes = RedisServer(Path(folder)), Processes(Path(folder))
        try:
            server.start()
            for authenticates in (False, True):
                task = attack_new(
                    processes,
                    server.url,
                    authenticates=authenticates,
                    examples=arguments.examples,
                    number=arguments.seed,
                )
                answers = asyncio.run(task)
                sys.stdout.write("\n".join([f"authentication: {authenticates}", *answers.lines(), ""]))
                wrong = wrong or bool(answers.wrong)
        finally:
            processes.kill()
            server.kill()
    sys.exit(wrong)


if __name__ == "__main__":
    main()
