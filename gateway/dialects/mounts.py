"""The dialects that have routes of their own, each below a path prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastapi import APIRouter
from holdfast.gateway.dialects.ag_ui import copilotkit
from holdfast.gateway.dialects.ag_ui import errors as ag_ui_errors
from holdfast.gateway.dialects.ag_ui import routes as ag_ui_routes
from holdfast.gateway.dialects.ai_sdk import errors as ai_sdk_errors
from holdfast.gateway.dialects.ai_sdk import routes as ai_sdk
from holdfast.gateway.dialects.openai import errors as openai_errors
from holdfast.gateway.dialects.openai import routes as openai
from holdfast.gateway.errors import ERROR_RESPONSE, ErrorResponse
from starlette.types import ASGIApp, Receive, Scope, Send


class Mount(NamedTuple):
    """A dialect's routes, whose paths begin with `prefix`, and the form of every error below it."""

    prefix: str
    router: APIRouter
    error_response: ErrorResponse


MOUNTS: Sequence[Mount] = (
    Mount(ai_sdk.PREFIX, ai_sdk.router, ai_sdk_errors.error_response),
    Mount(openai.PREFIX, openai.router, openai_errors.error_response),
    Mount(ag_ui_routes.PREFIX, ag_ui_routes.router, ag_ui_errors.error_response),
    Mount(copilotkit.PREFIX, copilotkit.router, ag_ui_errors.error_response),
)


class ErrorForms:
    """ASGI layer: note in the scope in which form errors below a mounted prefix are sent."""

    def __init__(self, app: ASGIApp, mounts: Sequence[Mount]) -> None:
        self.app = app
        self._mounts = mounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for mount in self._mounts:
                if scope["path"].startswith(mount.prefix):
                    scope[ERROR_RESPONSE] = mount.error_response
        await self.app(scope, receive, send)
