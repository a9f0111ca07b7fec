"""The caller that authentication names decides which sessions there are."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx2
import pytest
from holdfast.gateway.principal import RIGHTS, Principal
from holdfast.shared.owner import Owner
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
    ("POST", "/v1/sessions/mine/jobs/{job}/retry"),
    ("POST", "/v1/sessions/mine/tickets"),
    ("DELETE", "/v1/sessions/mine/tickets"),
    ("DELETE", "/v1/sessions/mine"),
]


async def by_header(scope: Scope) -> Principal:
    """Name the caller by two fields: the subject, and its rights, which are all by default."""
    fields = Headers(scope=scope)
    rights = frozenset(right for right in RIGHTS if right in fields.get("x-rights", " ".join(RIGHTS)).split())
    return Principal(Owner("acme", fields.get("x-caller", "")), rights)


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, authenticate=by_header) as gateway:
        await gateway.offer("scripted")
        yield gateway


async def call(gateway: Served, caller: str, method: str, path: str) -> httpx2.Response:
    body = JOB if path.endswith("/jobs") else {} if path.endswith("/tickets") else {"value": 1}
    return await gateway.client.request(
        method, path, headers={"x-caller": caller}, json=body if method == "POST" else None
    )


async def test_every_route_of_a_session_answers_another_owner_as_if_there_were_none(gateway: Served) -> None:
    posted = await call(gateway, "mine", "POST", "/v1/sessions/mine/jobs")
    job = posted.json()["job_id"]
    assert posted.status_code == 202
    for method, path in CALLS:
        if path.endswith("/jobs") and method == "POST":  # it would create a session of the stranger
            continue
        refused = await call(gateway, "stranger", method, path.format(job=job))
        unknown = await call(gateway, "stranger", method, path.format(job=job).replace("mine", "none"))
        assert refused.status_code == (426 if path.endswith("/ws") else 404), path  # without a handshake
        assert (refused.status_code, refused.content) == (unknown.status_code, unknown.content)
    assert (await call(gateway, "mine", "GET", f"/v1/sessions/mine/jobs/{job}")).json()["status"] == "queued"


async def test_the_list_of_sessions_has_only_those_that_the_caller_may_read(gateway: Served) -> None:
    for name in ("mine", "theirs"):
        assert (await call(gateway, name, "POST", f"/v1/sessions/{name}/jobs")).status_code == 202
    listed = (await call(gateway, "mine", "GET", "/v1/sessions")).json()["sessions"]
    assert [session["session_id"] for session in listed] == ["mine"]
    await call(gateway, "mine", "DELETE", "/v1/sessions/mine")
    assert (await call(gateway, "mine", "GET", "/v1/sessions")).json()["sessions"] == []
    assert len((await call(gateway, "theirs", "GET", "/v1/sessions")).json()["sessions"]) == 1


async def test_two_owners_may_give_their_sessions_the_same_id(gateway: Served) -> None:
    jobs = {name: await call(gateway, name, "POST", "/v1/sessions/mine/jobs") for name in ("ann", "bob")}
    assert [posted.status_code for posted in jobs.values()] == [202, 202]
    for name, posted in jobs.items():
        assert (await call(gateway, name, "GET", "/v1/sessions/mine")).json()["jobs"] == [posted.json()["job_id"]]


@pytest.mark.parametrize(("method", "path"), CALLS)
async def test_no_response_shows_the_complete_id(gateway: Served, method: str, path: str) -> None:
    posted = await call(gateway, "ann", "POST", "/v1/sessions/mine/jobs")
    asked = path.format(job=posted.json()["job_id"])
    if asked.endswith(("/events", "/ws")):
        asked += "?last_event_id=1763683200123-1"
    answered = await call(gateway, "ann", method, asked) if not path.endswith("/events") else posted
    assert "acme" not in answered.text + str(answered.headers)


async def test_the_calls_above_are_all_routes_of_a_session(gateway: Served) -> None:
    paths = (await gateway.client.get("/openapi.json")).json()["paths"]
    known = {(method, path.replace("mine", "{session_id}").replace("{job}", "{job_id}")) for method, path in CALLS}
    assert known == {(method.upper(), path) for path in paths for method in paths[path] if "{session_id}" in path}
