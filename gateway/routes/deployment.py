"""Routes for the people who run a deployment: its workers, its queue, and what goes on in it."""

from __future__ import annotations

import re
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from holdfast.gateway.dependencies import Caller, GatewayState, PageLimit
from holdfast.gateway.deployment import Counts
from holdfast.gateway.routes.deployment_schemas import DrainAnswer, OverviewAnswer, QueueAnswer, WorkersAnswer
from holdfast.gateway.routes.schemas import json_response, problems
from holdfast.shared.errors import HoldfastError, RequestInvalid
from holdfast.shared.owner import public_id, tenant_of
from holdfast.shared.workers import RegisteredWorker
from starlette.responses import Response

router = APIRouter(tags=["deployment"])

_WORKER_ID = re.compile(r"[A-Za-z0-9._-]{1,64}")
STATES = ("waiting", "running", "asking", "deferred")


class WorkerUnknown(HoldfastError):
    """No worker with this id is registered."""

    code = "worker_unknown"
    status = 404
    title = "No such worker"


async def _observer(caller: Caller) -> None:
    caller.check_observer()


_observed = [Depends(_observer)]


async def _worker_cursor(
    cursor: Annotated[str, Query(description="`next` of the previous page; empty for the first page")] = "",
) -> str:
    if cursor and _WORKER_ID.fullmatch(cursor) is None:
        raise RequestInvalid("cursor", "must be the `next` of another page, unchanged, or be left out")
    return cursor


@router.get("/v1/workers", response_model=WorkersAnswer, responses=problems(422, 503), dependencies=_observed)
async def list_workers(
    state: GatewayState, cursor: Annotated[str, Depends(_worker_cursor)], limit: PageLimit = 50
) -> Response:
    """List the workers by their ids, with what their latest heartbeats say and with the jobs that they have."""
    page = await state["deployment"].workers.page(cursor, limit)
    return json_response({"workers": [_worker_json(worker) for worker in page.workers], "next": page.more})


@router.post("/v1/workers/{worker_id}/drain", status_code=202, response_model=DrainAnswer, responses=problems(404, 503))
async def drain_worker(state: GatewayState, caller: Caller, worker_id: Annotated[str, Path()]) -> Response:
    """Let a worker take no further jobs, finish those that it has, and exit."""
    caller.check("operate")
    if _WORKER_ID.fullmatch(worker_id) is None or not await state["deployment"].workers.has(worker_id):
        raise WorkerUnknown
    await state["queue"].drain(worker_id)
    return json_response({"worker_id": worker_id, "status": "draining"}, 202)


@router.get("/v1/queue", response_model=QueueAnswer, responses=problems(503), dependencies=_observed)
async def get_queue(state: GatewayState) -> Response:
    """Count the jobs that have not ended by agent, and by tenant."""
    counts = await state["deployment"].counts()
    agents: dict[str, dict[str, Any]] = {}
    for count in counts.jobs:
        row = agents.setdefault(count.agent, {"agent": count.agent, **dict.fromkeys(STATES, 0), "oldest_wait_s": None})
        row[count.state] += count.jobs
        if count.oldest_wait_s is not None:
            row["oldest_wait_s"] = max(count.oldest_wait_s, row["oldest_wait_s"] or 0)
    tenants = [tenant._asdict() for tenant in counts.tenants]
    return json_response({"agents": [agents[name] for name in sorted(agents)], "tenants": tenants})


@router.get("/v1/overview", response_model=OverviewAnswer, responses=problems(503), dependencies=_observed)
async def get_overview(state: GatewayState) -> Response:
    """Return the figures of this moment. Rates are the differences between two calls."""
    counts = await state["deployment"].counts()
    return json_response(_overview_json(counts, state["hub"].counters.viewers))


def _overview_json(counts: Counts, viewers: int) -> dict[str, Any]:
    states = counts.in_state()
    totals = ("deltas", "attempts", "first_tokens", "first_token_s")
    return {
        "at": counts.counted_at,
        "viewers": viewers,
        "workers": counts.workers,
        "jobs": {name: states[name] for name in STATES},
        "oldest_wait_s": counts.oldest_wait_s,
        **{name: sum(status.get(name, 0) for status in counts.statuses) for name in totals},
    }


def _worker_json(worker: RegisteredWorker) -> dict[str, Any]:
    status = worker.status
    return {
        "worker_id": worker.worker_id,
        "beat_at": worker.beat_at,
        "started_at": status.get("started_at"),
        "version": status.get("version"),
        "agents": status.get("agents", []),
        "slots": status.get("slots"),
        "draining": status.get("draining", False),
        "job_count": worker.job_count,
        "jobs": [_job_json(entry) for entry in worker.jobs],
    }


def _job_json(entry: str) -> dict[str, str | None]:
    session_id, _, job_id = entry.rpartition("/")
    return {"session_id": public_id(session_id), "job_id": job_id, "tenant": tenant_of(session_id) or None}
