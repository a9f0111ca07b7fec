"""The dialects that have routes of their own, each below a path prefix."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from fastapi import APIRouter
from holdfast.gateway.dialects.ag_ui import copilotkit
from holdfast.gateway.dialects.ag_ui import errors as ag_ui_errors
from holdfast.gateway.dialects.ag_ui import refusal as ag_ui_refusal
from holdfast.gateway.dialects.ag_ui import routes as ag_ui_routes
from holdfast.gateway.dialects.ai_sdk import errors as ai_sdk_errors
from holdfast.gateway.dialects.ai_sdk import refusal as ai_sdk_refusal
from holdfast.gateway.dialects.ai_sdk import routes as ai_sdk
from holdfast.gateway.dialects.dialect import RESUME_REFUSAL, ResumeRefusal
from holdfast.gateway.dialects.openai import errors as openai_errors
from holdfast.gateway.dialects.openai import routes as openai
from holdfast.gateway.errors import ERROR_RESPONSE, ErrorResponse
from starlette.types import ASGIApp, Receive, Scope, Send


def no_refusal(scope: Scope, retry_ms: int) -> None:
    """Refuse nothing in another way than by an error."""


class Mount(NamedTuple):
    """A dialect's routes, whose paths begin with `prefix`, and the form of every error below it. Without a
    `resume_refusal` its clients repeat what they resume, or have no use for it, after an error."""

    prefix: str
    router: APIRouter
    error_response: ErrorResponse
    resume_refusal: ResumeRefusal = no_refusal


MOUNTS: Sequence[Mount] = (
    Mount(ai_sdk.PREFIX, ai_sdk.router, ai_sdk_errors.error_response, ai_sdk_refusal.refuse_resume),
    Mount(openai.PREFIX, openai.router, openai_errors.error_response),
    Mount(ag_ui_routes.PREFIX, ag_ui_routes.router, ag_ui_errors.error_response, ag_ui_refusal.refuse_resume),
    Mount(copilotkit.PREFIX, copilotkit.router, ag_ui_errors.error_response),
)


class ErrorForms:
    """ASGI layer: note in the scope in which form errors below a mounted prefix are sent, and temporary refusals."""

    def __init__(self, app: ASGIApp, mounts: Sequence[Mount]) -> None:
        self.app = app
        self._mounts = mounts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            for mount in self._mounts:
                if scope["path"].startswith(mount.prefix):
                    scope[ERROR_RESPONSE] = mount.error_response
                    scope[RESUME_REFUSAL] = mount.resume_refusal
        await self.app(scope, receive, send)
