"""Every route, streams and the page included, is behind every layer."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from holdfast.gateway.app import ROUTERS, create_app
from holdfast.gateway.layers.edge import Edge
from holdfast.gateway.principal import Authenticate, Principal, anonymous
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import HoldfastError
from prometheus_client import generate_latest
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.types import ASGIApp, Scope

ORIGIN = "https://app.example"


class Denied(HoldfastError):
    code = "denied"
    status = 401
    title = "Not authenticated"


async def deny(_: Scope) -> Principal:
    raise Denied


async def fail(_: Scope) -> Principal:
    raise RuntimeError


def served(authenticate: Authenticate = anonymous) -> ASGIApp:
    return create_app(GatewaySettings.model_validate({"cors_origins": ORIGIN}), authenticate=authenticate)


def calls() -> list[tuple[str, str]]:
    """Return the method and a path of every route of the app."""
    app = served()
    while not isinstance(app, FastAPI):
        app = app.app  # type: ignore[attr-defined]
    routes = [*app.routes, *(route for router in ROUTERS for route in router.routes)]
    return sorted({(method, one.path) for one in routes if isinstance(one, Route) for method in one.methods or ()})


CALLS = calls()


def answer(app: ASGIApp, call: tuple[str, str], **headers: str) -> tuple[int, str, dict[str, str]]:
    method, path = call
    client = TestClient(app, "http://localhost", raise_server_exceptions=False)
    response = client.request(method, path.replace("{", "").replace("}", ""), headers=headers)
    return response.status_code, "" if method == "HEAD" else response.json()["code"], dict(response.headers)


def test_all_kinds_of_routes_are_looked_at() -> None:
    paths = {path for _, path in CALLS}
    of_sessions = {"/v1/sessions/{session_id}/events", "/v1/sessions/{session_id}/ws"}
    assert {"/v1/jobs", *of_sessions, "/openapi.json", "/web/{name:path}", "/metrics"} <= paths


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_route_passes_authentication(call: tuple[str, str]) -> None:
    status, code, headers = answer(served(deny), call, origin=ORIGIN)
    assert (status, code) in ((401, "denied"), (401, ""))
    assert headers["access-control-allow-origin"] == ORIGIN


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_every_route_passes_the_checks_of_host_and_origin_before_authentication(call: tuple[str, str]) -> None:
    app = served(deny)
    assert answer(app, call, host="evil.example")[0] == 421
    assert answer(app, call, origin="https://evil.example")[0] == 403


@pytest.mark.parametrize("call", CALLS, ids=" ".join)
def test_an_error_in_a_layer_is_a_500_without_details_on_every_route(call: tuple[str, str]) -> None:
    status, code, _ = answer(served(fail), call)
    assert (status, code) in ((500, "internal"), (500, ""))


def test_every_request_is_counted() -> None:
    refusing = served(deny)
    for call in CALLS:
        answer(refusing, call)
    assert isinstance(refusing, Edge)
    lines = generate_latest(refusing.metrics.registry).decode().splitlines()
    counted = [float(line.rpartition(" ")[2]) for line in lines if line.startswith("holdfast_http_requests_total")]
    assert sum(counted) == len(CALLS)
