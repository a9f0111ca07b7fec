"""The ASGI app: routes, ASGI layers, and the OpenAPI document."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from holdfast.gateway.authentication.authentication import Authentication
from holdfast.gateway.authentication.credentials import COOKIE
from holdfast.gateway.authentication.rate_limited import RateLimitedAuthentication
from holdfast.gateway.dialects.mounts import MOUNTS, ErrorForms, Mount
from holdfast.gateway.errors import UnexpectedErrors, add_handlers
from holdfast.gateway.layers.body_limit import BodyLimit
from holdfast.gateway.layers.compression import Compression
from holdfast.gateway.layers.cors import Cors
from holdfast.gateway.layers.door import Door
from holdfast.gateway.layers.edge import Edge
from holdfast.gateway.layers.host_check import HostCheck
from holdfast.gateway.layers.origin_check import OriginCheck
from holdfast.gateway.lifespan import lifespan_of
from holdfast.gateway.metrics import Metrics
from holdfast.gateway.principal import Authenticate
from holdfast.gateway.routes import agents, deployment, events, health, jobs, sessions, tickets, web, websocket
from holdfast.gateway.routes.job_body import AnswerBody, JobBody
from holdfast.gateway.routes.schemas import OF_EVERY_CALL, Problem, problems
from holdfast.gateway.routes.stream_route import FastPath
from holdfast.gateway.settings import GatewaySettings
from pydantic.json_schema import models_json_schema
from starlette.types import ASGIApp

Layer = Callable[[ASGIApp], ASGIApp]

ROUTERS = (
    *(jobs.router, sessions.router, tickets.router, agents.router, deployment.router),
    *(health.router, web.router),
)


_SECURITY = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, a JWT or a ticket"},
    "ticket": {"type": "apiKey", "in": "query", "name": "ticket"},
    "cookie": {"type": "apiKey", "in": "cookie", "name": COOKIE},
}


def create_app(
    settings: GatewaySettings,
    refusals: Mapping[str, int] | None = None,
    authenticate: Authenticate | None = None,
    mounts: Sequence[Mount] = MOUNTS,
) -> ASGIApp:
    """Create the app of one gateway. It connects to Redis when its lifespan starts.

    Args:
        refusals: counts of requests that the server refused before the app, by error code.
        authenticate: tells who sends a request; None: as the settings say.
        mounts: the dialects that have routes of their own.
    """
    metrics = Metrics({} if refusals is None else refusals)
    auth = Authentication(settings, authenticate)
    app = FastAPI(
        title="Holdfast",
        version="1",
        summary="Queue agent jobs, and read their events as a stream that can be resumed",
        lifespan=lifespan_of(settings, metrics, auth),
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=lambda route: route.name,
        telemetry={"tracing": False, "metrics": False, "logs": False},
    )
    app.state.web_files = web.load_web_files()
    streams = (*events.router.routes, *websocket.router.routes)
    app.router.routes.extend(streams)  # include_router would look for the route twice
    for router in (*ROUTERS, *(mount.router for mount in mounts)):
        app.include_router(router)
    add_handlers(app)
    if settings.compress != "off":
        app.add_middleware(Compression)  # behind the fast path: streams compress on their own
    app.add_middleware(UnexpectedErrors)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    stack: ASGIApp = FastPath(app, streams)
    authenticate = auth.authenticate
    if settings.limits_requests:
        authenticate = RateLimitedAuthentication(authenticate, settings.trusted_networks)
    for layer in reversed(_layers(settings, metrics, authenticate, mounts)):
        stack = layer(stack)
    return stack


def _layers(
    settings: GatewaySettings, metrics: Metrics, authenticate: Authenticate, mounts: Sequence[Mount]
) -> Sequence[Layer]:
    """List the layers that every request passes before a route, streams included. The first one runs first."""
    return (
        partial(Edge, metrics=metrics),
        *([partial(ErrorForms, mounts=mounts)] if mounts else []),
        UnexpectedErrors,
        *([partial(Cors, origins=settings.origins)] if settings.origins else []),
        partial(
            Door,
            host_check=HostCheck(settings.hosts),
            origin_check=OriginCheck(settings.origins),
            authenticate=authenticate,
        ),
        partial(BodyLimit, max_bytes=settings.max_body_bytes),
    )


def _openapi(app: FastAPI) -> dict[str, Any]:
    """Return FastAPI's OpenAPI document, with the schemas of bodies and errors that the routes handle themselves."""
    if app.openapi_schema is None:
        schema = get_openapi(title=app.title, version=app.version, summary=app.summary, routes=app.routes)
        _, extra = models_json_schema(
            [(JobBody, "validation"), (AnswerBody, "validation"), (Problem, "serialization")],
            ref_template="#/components/schemas/{model}",
        )
        schemas = schema.setdefault("components", {}).setdefault("schemas", {})
        schemas.update(extra["$defs"])
        schema["components"]["securitySchemes"] = _SECURITY
        schema["security"] = [{}, *({name: []} for name in _SECURITY)]
        _correct(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _correct(schema: dict[str, Any]) -> None:
    """Correct FastAPI's description of the operations.

    Removes the 422 that it adds to each route with parameters, since the routes declare their own, and the empty
    default of an omitted header, which its pattern would not allow. Adds the errors that every route can return."""
    common = {str(status): problem for status, problem in problems(*OF_EVERY_CALL).items()}
    for unused in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(unused, None)
    for operation in (operation for path in schema["paths"].values() for operation in path.values()):
        if "HTTPValidationError" in str(operation["responses"].get("422")):
            del operation["responses"]["422"]
        for parameter in operation.get("parameters", []):
            if parameter["schema"].get("default") == "":
                del parameter["schema"]["default"]
        operation["responses"] = common | operation["responses"]
