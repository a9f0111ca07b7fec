"""The caller that authentication names decides which sessions there are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx2
import pytest
from holdfast.gateway.principal import Principal, Right
from starlette.datastructures import Headers
from starlette.types import Scope

from tests.support.served import Served, served

JOB = {"agent": "scripted", "input": "hi"}
CALLS = [
    ("GET", "/v1/sessions/mine"),
    ("GET", "/v1/sessions/mine/messages"),
    ("GET", "/v1/sessions/mine/jobs"),
    ("GET", "/v1/sessions/mine/events"),
    ("GET", "/v1/sessions/mine/ws"),
    ("POST", "/v1/sessions/mine/jobs"),
    ("GET", "/v1/sessions/mine/jobs/{job}"),
    ("GET", "/v1/sessions/mine/jobs/{job}/events"),
    ("POST", "/v1/sessions/mine/jobs/{job}/cancel"),
    ("POST", "/v1/sessions/mine/jobs/{job}/answer"),
    ("DELETE", "/v1/sessions/mine"),
]


@dataclass(frozen=True, slots=True)
class Owner(Principal):
    """May do everything with sessions of this name, and nothing with others."""

    def may(self, right: Right, session_id: str) -> bool:
        return session_id == self.subject


async def by_header(scope: Scope) -> Principal:
    return Owner(Headers(scope=scope).get("x-caller", ""))


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, authenticate=by_header) as gateway:
        await gateway.offer("scripted")
        yield gateway


async def call(gateway: Served, caller: str, method: str, path: str) -> httpx2.Response:
    body = JOB if path.endswith("/jobs") else {"value": 1}
    return await gateway.client.request(
        method, path, headers={"x-caller": caller}, json=body if method == "POST" else None
    )


async def test_every_route_of_a_session_answers_a_caller_without_rights_as_if_there_were_none(gateway: Served) -> None:
    posted = await call(gateway, "mine", "POST", "/v1/sessions/mine/jobs")
    job = posted.json()["job_id"]
    assert posted.status_code == 202
    for method, path in CALLS:
        refused = await call(gateway, "stranger", method, path.format(job=job))
        unknown = await call(gateway, "stranger", method, path.format(job=job).replace("mine", "none"))
        assert (refused.status_code, refused.json()["code"]) == (404, "session_unknown"), path
        assert refused.content == unknown.content
    assert (await call(gateway, "mine", "GET", f"/v1/sessions/mine/jobs/{job}")).json()["status"] == "queued"


async def test_the_list_of_sessions_has_only_those_that_the_caller_may_read(gateway: Served) -> None:
    for name in ("mine", "theirs"):
        assert (await call(gateway, name, "POST", f"/v1/sessions/{name}/jobs")).status_code == 202
    listed = (await call(gateway, "mine", "GET", "/v1/sessions")).json()["sessions"]
    assert [session["session_id"] for session in listed] == ["mine"]


async def test_the_calls_above_are_all_routes_of_a_session(gateway: Served) -> None:
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    known = {(method, path.replace("mine", "{session_id}").replace("{job}", "{job_id}")) for method, path in CALLS}
    assert known == {(method.upper(), path) for path in paths for method in paths[path] if "{session_id}" in path}
