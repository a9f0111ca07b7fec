"""The product: the real gateway, and logs that are written by the worker's own commands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NamedTuple

from holdfast.gateway.authentication.tickets import Ticket, write_ticket
from holdfast.gateway.dialects.openai.response_ids import RESPONSE
from holdfast.shared.auth_store import AuthStore
from holdfast.shared.keys import log_key
from holdfast.shared.log.entries import name_of
from holdfast.shared.log.log_replies import Attempt
from holdfast.shared.log.log_writer import LogWriter
from holdfast.shared.owner import Owner, complete_id
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.log_connections import connect_logs
from holdfast.shared.secret import Secret
from holdfast.shared.sessions import JobRequest, Sessions
from holdfast.shared.settings import CommonSettings

from bench.load import LAST, Feed, Target, command
from bench.peers.stage import Peer, Stage
from bench.processes import free_port

AGENT = "bench"
JOB = "abcdefghijklmnop"  # as the events say
EVENTS = "/v1/sessions/bench-{session}/events"
RETENTION_EVENTS = b"100000"
OWNER = Owner("bench")
_ENOUGH = "100000"  # so that every limit is checked and none is reached
GUARDED = {
    "HOLDFAST_AUTH": "keys",
    "HOLDFAST_TENANT_REQUESTS_PER_SECOND": _ENOUGH,
    "HOLDFAST_ADDRESS_REQUESTS_PER_SECOND": _ENOUGH,
    "HOLDFAST_SESSION_MAX_VIEWERS": _ENOUGH,
    "HOLDFAST_TENANT_MAX_VIEWERS": _ENOUGH,
    "HOLDFAST_ADDRESS_MAX_VIEWERS": _ENOUGH,
}


class Submission(NamedTuple):
    """A session and the request of its job."""

    session_id: str
    request: JobRequest


async def plain_submissions(_: Secret, sessions: int) -> list[Submission]:
    """Return sessions bench-0, bench-1, …"""
    request = JobRequest(AGENT, b'"go"', b"{}", b"{}", 86_400, "queue", None, "")
    return [Submission(f"bench-{number}", request) for number in range(sessions)]


Submissions = Callable[[Secret, int], Awaitable[list[Submission]]]


async def owned_submissions(secret: Secret, sessions: int) -> list[Submission]:
    """Return the same sessions of the tenant OWNER."""
    plain = await plain_submissions(secret, sessions)
    return [Submission(complete_id(OWNER, each.session_id), each.request) for each in plain]


def start(
    stage: Stage,
    *,
    gateways: int = 1,
    submissions: Submissions = plain_submissions,
    settings: dict[str, str] | None = None,
) -> Target:
    redis = stage.redis()
    attempts = asyncio.run(claimed(redis.url, stage.sessions, submissions))
    ports = [free_port() for _ in range(gateways)]
    env = {"HOLDFAST_REDIS_URL": redis.url} | (settings or {})
    servers = [stage.gateway(port, HOLDFAST_PORT=str(port), **env) for port in ports]
    feed = Feed(redis.port, "resp", [appends(attempt, stage.event) for attempt in attempts], batch=stage.batch)
    return Target(ports, EVENTS, feed, servers, redis)


def start_raw(stage: Stage) -> Target:
    """Catching up event by event, without compaction."""
    return start_at(stage, f"{EVENTS}?raw=true")


def start_websocket(stage: Stage) -> Target:
    """The same events over WebSocket."""
    return start_at(stage, "ws:/v1/sessions/bench-{session}/ws")


def start_at(stage: Stage, path: str, submissions: Submissions = plain_submissions) -> Target:
    """The same events at another path."""
    target = start(stage, submissions=submissions)
    return Target(target.ports, path, target.feed, target.server, target.redis)


def start_guarded(stage: Stage) -> Target:
    """The same events where the gateway authenticates and limits its callers: viewers send a ticket."""
    target = start(stage, submissions=owned_submissions, settings=GUARDED)
    assert target.redis is not None
    path = f"{EVENTS}?ticket={asyncio.run(_ticket(target.redis.url))}"
    return Target(target.ports, path, target.feed, target.server, target.redis)


async def _ticket(redis_url: str) -> str:
    """Return a sign-in, which is valid for all sessions of the tenant."""
    redis = connect(redis_url, max_connections=1)
    try:
        secret = (await AuthStore(redis).state()).version.secret
    finally:
        await redis.aclose()
    now = time.time()
    return write_ticket(secret or b"", Ticket("", *OWNER, ["read"], now, now + 3600, 0))


async def claimed(redis_url: str, sessions: int, submissions: Submissions = plain_submissions) -> Sequence[Attempt]:
    """Sessions with a running job each, claimed as a worker claims them."""
    logs, settings = connect_logs(redis_url, max_connections=32, deadline_s=10), CommonSettings()
    intake, log_writer = Sessions(logs, settings), LogWriter(logs, settings)
    try:
        made = await submissions(Secret(logs.servers[0].redis), sessions)
        return [await _claimed(intake, log_writer, submission) for submission in made]
    finally:
        await logs.aclose()


async def _claimed(intake: Sessions, log_writer: LogWriter, submission: Submission) -> Attempt:
    session_id = submission.session_id
    await intake.submit(session_id, JOB, submission.request)
    attempt = await log_writer.claim(
        session_id, JOB, delivery=1, claim_id=f"bench-{session_id}", worker_id="bench", offered=True
    )
    assert isinstance(attempt, Attempt)
    return attempt


def appends(attempt: Attempt, event: bytes) -> bytes:
    """The worker's append of an event as a template, and of a batch's last, which trims. The log begins with the entry
    of the claim."""
    return _xadd(attempt, event) + LAST + _xadd(attempt, event, b"MAXLEN", b"~", RETENTION_EVENTS)


def _xadd(attempt: Attempt, event: bytes, *options: bytes) -> bytes:
    fixed = (log_key(attempt.session_id).encode(), b"NOMKSTREAM", *options, b"%d-{next}" % attempt.epoch)
    return command(b"XADD", *fixed, name_of(JOB, "text.delta").encode(), event)


PEER = Peer("holdfast", "Holdfast", start)
AUTHENTICATED = Peer("authenticated", "Holdfast, authentication and limits", start_guarded)
WEBSOCKET = Peer("websocket", "Holdfast, WebSocket", start_websocket)
RAW = Peer("holdfast", "Holdfast, event by event", start_raw)
DIALECTS = tuple(
    Peer(key, f"Holdfast, {name}", partial(start_at, path=path))
    for key, name, path in (
        ("ai-sdk", "AI SDK", f"/ai-sdk/v7/{AGENT}/bench-{{session}}/stream"),
        ("workflow", "AI SDK, workflow", f"/ai-sdk/workflow/{AGENT}/bench-{{session}}/stream"),
        ("responses", "OpenAI responses", f"/openai/v1/responses/{RESPONSE}bench-{{session}}{JOB}?stream=true"),
        ("ag-ui", "AG-UI", f"/ag-ui/{AGENT}/bench-{{session}}/events"),
    )
)
