"""The OpenAPI document of the gateway, against which every response that a test receives is checked."""

from __future__ import annotations

import re
from functools import cache
from typing import Any

import httpx2
import jsonschema_rs
from fastapi import FastAPI
from holdfast.gateway.app import create_app
from holdfast.gateway.settings import GatewaySettings

JSON = ("application/json", "application/problem+json")


class Contract:
    """`answered`: the operations, such as `GET /v1/jobs`, that were answered with a status below 300."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.answered: set[str] = set()
        self._components = _strict(document["components"])
        self._operations = {
            (method.upper(), path): operation
            for path, methods in document["paths"].items()
            for method, operation in methods.items()
        }

    @property
    def operations(self) -> set[str]:
        return {f"{method} {path}" for method, path in self._operations}

    async def check(self, response: httpx2.Response) -> None:
        """Raise AssertionError if a response is not as its operation declares. Other routes have no declaration."""
        found = self._operation(response.request.method, response.url.path)
        if found is None:
            return
        name, operation = found
        if response.status_code < 300:
            self.answered.add(name)
        declared = operation["responses"].get(str(response.status_code))
        assert declared is not None, f"{name} does not declare {response.status_code}"
        media_type = response.headers.get("content-type", "").partition(";")[0]
        if media_type in JSON:
            await response.aread()
            schema = declared["content"][media_type]["schema"]
            jsonschema_rs.validator_for({**schema, "components": self._components}).validate(response.json())

    def _operation(self, method: str, path: str) -> tuple[str, dict[str, Any]] | None:
        for (declared, template), operation in self._operations.items():
            if declared == method and re.fullmatch(re.sub(r"\{[a-z_]+\}", "[^/]+", template), path):
                return f"{method} {template}", operation
        return None


def contract() -> Contract:
    """Return the contract of today's gateway."""
    return Contract(_document())


@cache
def _document() -> dict[str, Any]:
    app = create_app(GatewaySettings())
    while not isinstance(app, FastAPI):
        app = app.app  # type: ignore[attr-defined]
    return app.openapi()


def _strict(schema: Any) -> Any:
    """Return a schema in which objects have no fields but those that are declared."""
    if isinstance(schema, list):
        return [_strict(one) for one in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: _strict(one) for name, one in schema.items()}
    return {**inner, "additionalProperties": False} if "properties" in inner else inner
