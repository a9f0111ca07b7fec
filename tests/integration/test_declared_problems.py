"""The description of every call lists the errors that refuse it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from holdfast.gateway import limits

from tests.support.redis_server import RedisServer
from tests.support.served import RawAnswer, Served, raw_request, served

HOST = "Host: localhost"
KEY = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
OFFER = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", KEY]
JOB = b'{"agent":"scripted","input":"tea"}'
OF_ANY_REQUEST = {
    400: [HOST, HOST],
    403: [HOST, "Origin: https://evil.example"],
    421: ["Host: evil.example"],
    431: [HOST, f"X-Large: {'x' * 40_000}"],
}
OF_A_BODY = {
    413: ["Content-Type: application/json", "Content-Length: 5000000"],
    415: ["Content-Type: text/plain", "Content-Length: 2"],
    422: ["Content-Type: application/json", "Content-Length: 2"],
    408: ["Content-Type: application/json", "Content-Length: 3"],
}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        yield gateway


async def calls(gateway: Served) -> list[tuple[str, str, dict[str, Any]]]:
    """Method, path and description of every call."""
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    return [
        (method.upper(), re.sub(r"\{[a-z_]+\}", "x", path), call)
        for path, methods in paths.items()
        for method, call in methods.items()
    ]


async def send(gateway: Served, method: str, path: str, headers: list[str], body: bytes = b"") -> RawAnswer:
    lines = [f"{method} {path} HTTP/1.1", "Connection: close", *headers, "", ""]
    return await raw_request(gateway.port, "\r\n".join(lines).encode() + body)


def check_declared(answer: RawAnswer, call: dict[str, Any]) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    declared = call["responses"][str(answer.status)]
    code = orjson.loads(answer.body)["code"]
    assert code in declared["description"], (answer.status, code, declared)


@pytest.mark.parametrize(("status", "headers"), OF_ANY_REQUEST.items(), ids=map(str, OF_ANY_REQUEST))
async def test_what_every_call_may_be_refused_with_is_declared(
    gateway: Served, status: int, headers: list[str]
) -> None:
    for method, path, call in await calls(gateway):
        answer = await send(gateway, method, path, headers)
        assert answer.status == status
        check_declared(answer, call)


@pytest.mark.parametrize(("status", "headers"), OF_A_BODY.items(), ids=map(str, OF_A_BODY))
async def test_what_a_body_may_be_refused_with_is_declared(
    gateway: Served, monkeypatch: pytest.MonkeyPatch, status: int, headers: list[str]
) -> None:
    monkeypatch.setattr(limits, "BODY_DEADLINE_S", 0.05)
    with_body = [(method, path, call) for method, path, call in await calls(gateway) if "requestBody" in call]
    assert len(with_body) >= 3
    for method, path, call in with_body:
        answer = await send(gateway, method, path, [HOST, *headers], b"{}")
        assert answer.status == status
        check_declared(answer, call)


async def test_what_is_unknown_or_malformed_is_declared(gateway: Served) -> None:
    for method, path, call in await calls(gateway):
        parameters = {parameter["name"] for parameter in call.get("parameters", [])}
        if method == "GET" and "session_id" in parameters:
            check_declared(await send(gateway, method, path, [HOST]), call)
        if "Last-Event-ID" in parameters:
            check_declared(await send(gateway, method, path, [HOST, "Last-Event-ID: x"]), call)
            check_declared(await send(gateway, method, path, [HOST, "Accept: image/png"]), call)
            check_declared(await send(gateway, method, f"{path}?from=x", [HOST]), call)
        if "limit" in parameters:
            check_declared(await send(gateway, method, f"{path}?limit=x", [HOST]), call)
        if "cursor" in parameters:
            check_declared(await send(gateway, method, f"{path}?cursor=~x", [HOST]), call)


WITHOUT_REDIS = {("GET", "/v1/sign-in"), ("DELETE", "/v1/sign-in")}


async def test_what_a_redis_that_is_away_leads_to_is_declared(redis_server: Any) -> None:
    server: RedisServer = redis_server()
    async with served(server.url) as gateway:
        await gateway.offer("scripted")
        described = await calls(gateway)
        server.kill()
        for method, path, call in described:
            if (path.startswith("/v1/") and (method, path) not in WITHOUT_REDIS) or path == "/readyz":
                headers = [HOST, "Accept: application/x-ndjson", "Content-Type: application/json"]
                body = (JOB if path.endswith("jobs") else b'{"value":1}') if "requestBody" in call else b""
                more = OFFER if path.endswith("/ws") else [f"Content-Length: {len(body)}"]
                answer = await send(gateway, method, path, [*headers, *more], body)
                assert answer.status == 503, path
                check_declared(answer, call)


async def test_a_defect_is_declared_for_every_call(gateway: Served) -> None:
    for _, _, call in await calls(gateway):
        assert call["responses"]["500"]["description"] == "internal, or seal_broken"


@pytest.mark.parametrize(
    "media_type",
    [
        "application/json; charset=utf-8; x=y",
        "application/json;x=y;charset=UTF-8",
        'APPLICATION/JSON ; profile="a;charset=latin-1\\"" ; charset="Utf-8"',
        "application/json;",
        "application/json ; charset=utf8 ;",
    ],
)
async def test_parameters_of_the_media_type_are_read_as_rfc_9110_has_them(gateway: Served, media_type: str) -> None:
    headers = [HOST, f"Content-Type: {media_type}", f"Content-Length: {len(JOB)}"]
    assert (await send(gateway, "POST", "/v1/jobs", headers, JOB)).status == 202


@pytest.mark.parametrize(
    "fields",
    [
        ["Content-Type: application/json; charset=latin-1; x=y"],
        ["Content-Type: application/json; charset=utf-8; charset=latin-1"],
        ['Content-Type: application/json; x="y'],
        ["Content-Type: application/json; charset"],
        ["Content-Type: application/json, text/plain"],
        ["Content-Type: application/jsonp"],
        ["Content-Type: json"],
        ["Content-Type: application/json", "Content-Type: text/plain"],
        [],
    ],
)
async def test_any_other_media_type_is_refused(gateway: Served, fields: list[str]) -> None:
    answer = await send(gateway, "POST", "/v1/jobs", [HOST, *fields, f"Content-Length: {len(JOB)}"], JOB)
    assert answer.status == 415
