"""Fast path for stream requests: skips FastAPI's routing, which dominates the cost of a reconnect storm."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

_SUFFIXES = ("/events", "/ws")


class FastPath:
    """ASGI layer: pass requests for these routes directly to them, and all others to the app."""

    def __init__(self, app: ASGIApp, routes: Sequence[BaseRoute]) -> None:
        self.app = app
        self.routes = [route for route in routes if isinstance(route, Route)]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["path"].endswith(_SUFFIXES):
            for route in self.routes:
                found = route.path_regex.match(scope["path"])
                if found is not None and scope["method"] in (route.methods or ()):
                    scope.update(route=route, path_params=found.groupdict())
                    await route.handle(scope, receive, send)
                    return
        await self.app(scope, receive, send)
