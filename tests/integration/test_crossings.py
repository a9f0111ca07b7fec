"""The short form of scripts/crossings: nobody reaches a session of another owner, on any route, by any id."""

from __future__ import annotations

from fastapi.routing import APIRoute
from holdfast.gateway.app import ROUTERS
from holdfast.gateway.dialects.mounts import MOUNTS
from holdfast.gateway.routes import events, websocket

from tests.support.crossing_attempts import ATTEMPTS
from tests.support.crossing_sockets import CHANGES
from tests.support.crossings import cross
from tests.support.process import Processes

ATTEMPTS_MADE = 5 * len(ATTEMPTS)
# Routes that name no session, and that to post a job, which makes a session of the caller's own.
WITHOUT_SESSION = {
    "/v1/workers/{worker_id}/drain",
    "/ai-sdk/{client}/{agent}",
    "/copilotkit/info",
    "/copilotkit",
    "/copilotkit/",
    "/ag-ui/{agent}",
}
OWN = {"/v1/sessions/{session_id}/jobs", "/copilotkit/agent/{agent}/run"}


async def test_f42_no_route_tells_a_session_of_another_owner_from_none(processes: Processes, redis_url: str) -> None:
    findings = await cross(processes, redis_url, attempts=ATTEMPTS_MADE, seed=42)
    assert findings.wrong == []
    assert sum(findings.attempts.values()) == ATTEMPTS_MADE + len(CHANGES)
    assert len(findings.deliveries) > 1


def test_every_route_of_a_session_is_attempted() -> None:
    routers = [*ROUTERS, events.router, websocket.router, *(mount.router for mount in MOUNTS)]
    routes = [route for router in routers for route in router.routes if isinstance(route, APIRoute)]
    attempted = [(attempt.method, attempt.path.partition("?")[0]) for attempt in ATTEMPTS]
    missing = [
        (method, route.path)
        for route in routes
        if "{" in route.path and route.path not in WITHOUT_SESSION | OWN and "model" not in route.path
        for method in set(route.methods or ()) - {"HEAD"}
        if "/web/" not in route.path
        if not any(method == sent and route.path_regex.match(path) for sent, path in attempted)
    ]
    assert missing == []
