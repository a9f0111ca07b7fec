"""Routes that list agents."""

from __future__ import annotations

from fastapi import APIRouter
from holdfast.gateway.dependencies import Caller, GatewayState
from holdfast.gateway.routes.schemas import AgentsAnswer, json_response, problems
from starlette.responses import Response

router = APIRouter(tags=["agents"])


@router.get("/v1/agents", response_model=AgentsAnswer, responses=problems(503))
async def list_agents(state: GatewayState, caller: Caller) -> Response:
    """List the agents that workers offer, with the JSON schema of their input. An agent stays listed for 7 days."""
    schemas = await state["agent_catalog"].schemas(caller)
    return json_response({"agents": [{"name": name, "input_schema": schema} for name, schema in schemas.items()]})
