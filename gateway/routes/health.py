"""Routes for liveness, readiness and metrics."""

from __future__ import annotations

import asyncio
from typing import Any

from fastapi import APIRouter
from holdfast.gateway.dependencies import Caller, GatewayState
from holdfast.gateway.errors import NotReady
from holdfast.gateway.routes.schemas import json_response, problems
from holdfast.shared.redis.errors import RedisError
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.responses import PlainTextResponse, Response

router = APIRouter(tags=["health"])

SCRAPE_DEADLINE_S = 2.0


def _example(content: dict[str, str]) -> dict[int | str, dict[str, Any]]:
    schema = {"type": "object", "properties": {name: {"type": "string"} for name in content}}
    return {200: {"content": {"application/json": {"schema": schema, "example": content}}}}


@router.head("/livez", include_in_schema=False)
@router.get("/livez", responses=_example({"status": "alive"}))
async def livez() -> Response:
    """Report that the process is alive."""
    return json_response({"status": "alive"})


@router.head("/readyz", include_in_schema=False)
@router.get("/readyz", responses=_example({"status": "ready"}) | problems(503))
async def readyz(state: GatewayState) -> Response:
    """Report readiness: Redis is available, new enough, writable, evicts nothing and grants the rights of a gateway.
    Otherwise 503 with the reasons."""
    reasons = await state["readiness"].reasons()
    if state["hub"].draining:
        reasons = ["the gateway is stopping"]
    if reasons:
        raise NotReady(reasons)
    return json_response({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(state: GatewayState, caller: Caller) -> Response:
    """Return metrics in the Prometheus text format. Values from Redis stay unchanged while Redis is unavailable."""
    caller.check("operate")
    gauges = state["metrics"]
    try:
        async with asyncio.timeout(SCRAPE_DEADLINE_S):
            gauges.queue_depth.set(await state["queue"].depth())
        gauges.queue_up.set(1)
    except (RedisError, TimeoutError):
        gauges.queue_up.set(0)
    return Response(generate_latest(gauges.registry), media_type=CONTENT_TYPE_LATEST)
