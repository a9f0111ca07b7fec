"""Below the prefix of a mounted dialect, every error has the form of that dialect."""

from __future__ import annotations

import pytest
from fastapi import APIRouter, Request
from holdfast.gateway.app import create_app
from holdfast.gateway.dialects.mounts import MOUNTS, Mount
from holdfast.gateway.errors import MethodNotAllowed, Unauthenticated, headers_of
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import HoldfastError, LogUnavailable, SessionUnknown
from starlette.responses import JSONResponse, Response
from starlette.testclient import TestClient

router = APIRouter()


@router.post("/other/jobs")
async def post(request: Request) -> Response:
    return Response(await request.body())


def error_response(error: HoldfastError) -> Response:
    return JSONResponse({"oops": error.code}, error.status)


@pytest.fixture(scope="module")
def client() -> TestClient:
    settings = GatewaySettings.model_validate({"max_body_bytes": 1024, "cors_origins": "https://app.example"})
    app = create_app(settings, mounts=[Mount("/other/", router, error_response)])
    return TestClient(app, "http://localhost", raise_server_exceptions=False)


@pytest.mark.parametrize(
    ("call", "status", "code"),
    [
        ({"method": "GET", "url": "/other/jobs"}, 405, "method_not_allowed"),
        ({"method": "GET", "url": "/other/nothing"}, 404, "not_found"),
        ({"method": "POST", "url": "/other/jobs", "headers": {"host": "evil.example"}}, 421, "host_not_allowed"),
        (
            {"method": "POST", "url": "/other/jobs", "headers": {"origin": "https://e.example"}},
            403,
            "origin_not_allowed",
        ),
        ({"method": "POST", "url": "/other/jobs", "content": b"x" * 2000}, 413, "body_too_large"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_has_the_form_of_the_dialect(
    client: TestClient, call: dict[str, object], status: int, code: str
) -> None:
    response = client.request(**call)  # type: ignore[arg-type]
    assert (response.status_code, response.json()) == (status, {"oops": code})


def test_errors_elsewhere_are_problems(client: TestClient) -> None:
    assert client.get("/otherwise").json()["code"] == "not_found"


@pytest.mark.parametrize("mount", MOUNTS, ids=lambda mount: mount.prefix)
@pytest.mark.parametrize(
    "error",
    [Unauthenticated(), MethodNotAllowed(["GET"]), LogUnavailable(), SessionUnknown()],
    ids=lambda error: error.code,
)
def test_an_error_of_a_dialect_has_the_headers_that_it_has_elsewhere(mount: Mount, error: HoldfastError) -> None:
    headers = mount.error_response(error).headers
    assert {name: headers.get(name) for name in headers_of(error)} == headers_of(error)
