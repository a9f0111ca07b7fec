"""The hook where a caller is told apart stands before every call of the API."""

from __future__ import annotations

import pytest
from fastapi import HTTPException
from fastapi.routing import APIRoute
from holdfast.gateway.app import ROUTERS, create_app
from holdfast.gateway.dependencies import authorize
from holdfast.gateway.routes import events
from holdfast.gateway.routes.stream_route import StreamRoute
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import HoldfastError
from starlette.testclient import TestClient


class Denied(HoldfastError):
    code = "denied"
    status = 403
    title = "Not you"


async def deny(_: object) -> None:
    raise Denied


CALLS = [
    route
    for router in (events.router, *ROUTERS)
    for route in router.routes
    if isinstance(route, APIRoute) and route.path.startswith("/v1/")
]


@pytest.mark.parametrize("route", CALLS, ids=[route.name for route in CALLS])
def test_every_call_of_the_api_asks_the_hook(route: APIRoute) -> None:
    hooks = {dependency.call for dependency in route.dependant.dependencies}
    assert isinstance(route, StreamRoute) or authorize in hooks


@pytest.mark.parametrize("path", ["/v1/sessions/s/events", "/v1/sessions/s/jobs/j/events"])
def test_a_stream_asks_the_hook_before_anything_else(path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("holdfast.gateway.routes.stream_route.authorize", deny)
    answer = TestClient(create_app(GatewaySettings()), "http://localhost").get(path)
    assert (answer.status_code, answer.json()["code"]) == (403, "denied")


@pytest.mark.parametrize(("status", "code"), [(401, "unauthorized"), (405, "method_not_allowed")])
def test_a_hook_may_refuse_a_stream_as_fastapi_does(status: int, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(_: object) -> None:
        raise HTTPException(status)

    monkeypatch.setattr("holdfast.gateway.routes.stream_route.authorize", refuse)
    answer = TestClient(create_app(GatewaySettings()), "http://localhost").get("/v1/sessions/s/events")
    assert (answer.status_code, answer.json()["code"]) == (status, code)
