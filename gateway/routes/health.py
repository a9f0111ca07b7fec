"""Routes for liveness, readiness and metrics."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from holdfast.gateway.dependencies import Caller, GatewayState
from holdfast.gateway.errors import NotReady, RouteUnknown
from holdfast.gateway.routes.schemas import json_response, problems
from starlette.responses import PlainTextResponse, Response

router = APIRouter(tags=["health"])


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
    if reasons := await state["operation"].reasons():
        raise NotReady(reasons)
    return json_response({"status": "ready"})


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(state: GatewayState, caller: Caller) -> Response:
    """Return metrics in the Prometheus text format. Values from Redis stay unchanged while Redis is unavailable. With
    a port of their own, metrics are not found here."""
    if state["settings"].metrics_port is not None:
        raise RouteUnknown
    caller.check("operate")
    page = await state["operation"].metrics()
    return Response(page.body, media_type=page.content_type)
