"""Authentication, in front of every route, streams included."""

from __future__ import annotations

from holdfast.gateway.errors import respond
from holdfast.gateway.principal import Authenticate
from holdfast.shared.errors import HoldfastError
from starlette.types import ASGIApp, Receive, Scope, Send


class Authentication:
    """ASGI layer: put the caller's Principal into the scope, or answer with the error that refuses the request.

    Args:
        authenticate: called once for each HTTP request, see Authenticate.
    """

    def __init__(self, app: ASGIApp, authenticate: Authenticate) -> None:
        self.app = app
        self._authenticate = authenticate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            try:
                scope["principal"] = await self._authenticate(scope)
            except HoldfastError as error:
                await respond(scope, error)(scope, receive, send)
                return
        await self.app(scope, receive, send)
