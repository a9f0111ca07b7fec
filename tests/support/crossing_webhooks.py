"""Webhooks of crossings: those of the owner and of the attackers come to one receiver, at addresses of their own."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple

from holdfast.shared.webhooks.signature import parse_secrets, signature

from tests.support.crossing_findings import Findings
from tests.support.receiver import Received, Receiver

SECRET = "webhooks-webhooks-webhooks-webhooks"
HOOKS = {"HOLDFAST_WEBHOOK_SECRET": SECRET, "HOLDFAST_WEBHOOK_NETWORKS": "127.0.0.0/8"}


class Hook(NamedTuple):
    """Where somebody's webhooks go. `jobs`: session and job ids of the jobs that name it."""

    name: str
    tenant: str
    url: str
    jobs: set[tuple[str, str]]

    @property
    def authority(self) -> str:
        return self.url.split("/")[2]


def hook_of(receiver: Receiver, number: int, name: str, tenant: str, mark: str = "") -> Hook:
    """Make an address at the receiver: a host of its own. `mark`: a secret in its query."""
    return Hook(name, tenant, f"http://127.0.0.{number + 1}:{receiver.port}/hook?key={mark}", set())


def reported(receiver: Receiver) -> set[tuple[str, str]]:
    """Return the session and job ids of the jobs whose end was delivered, to whomever."""
    return {_job(request) for request in receiver.received if request.message["type"] != "question.asked"}


def examine(receiver: Receiver, hooks: Mapping[str, Hook], victim: str, mark: str, findings: Findings) -> None:
    """Check that each delivery came to whom its job belongs, names no other session, and has its tenant's signature
    only. `hooks`: by authority. `mark`: what only the content of the `victim`, a name of a hook, contains."""
    tenants = {hook.tenant for hook in hooks.values()}
    for request in receiver.received:
        hook = _hook(hooks, request)
        findings.deliveries[hook.name] += 1
        session, job = _job(request)
        wrong = []
        if (session, job) not in hook.jobs:
            wrong.append("is of a foreign job")
        if request.message["data"]["job_url"] != f"/v1/sessions/{session}/jobs/{job}":
            wrong.append("names another session")
        if hook.name != victim and mark in f"{request.line}{request.headers}{request.body.decode()}":
            wrong.append("shows the victim's content")
        if any(f"{tenant}/" in request.body.decode().replace(session, "") for tenant in tenants):
            wrong.append("names an owner")
        if [tenant for tenant in tenants if is_signed(request, tenant)] != [hook.tenant]:
            wrong.append("has a signature of another tenant")
        findings.wrong += [f"a webhook to {hook.name} {each}: {request.body[:300]!r}" for each in wrong]
    kinds = Counter(request.message["type"] for request in receiver.received if _hook(hooks, request).name == victim)
    if set(kinds) != {"job.completed", "job.cancelled", "question.asked"}:
        findings.wrong.append(f"the victim's webhooks are {dict(kinds)}")


def is_signed(request: Received, tenant: str) -> bool:
    """Return whether a receiver with the tenant's secret would accept the request."""
    at = int(request.headers["webhook-timestamp"])
    expected = signature(parse_secrets(SECRET), tenant, request.id, at, request.body)
    return request.headers["webhook-signature"] == expected


def _hook(hooks: Mapping[str, Hook], request: Received) -> Hook:
    return hooks[request.headers["host"]]


def _job(request: Received) -> tuple[str, str]:
    data = request.message["data"]
    return data["session_id"], data["job_id"]
