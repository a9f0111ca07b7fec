"""Pages of the origins that HOLDFAST_CORS_ORIGINS lists may call everything, and read what they are answered."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping

import httpx2
import pytest

from tests.support.served import Served, served
from tests.support.sse import SseStream

APP = "https://app.example"
FROM_APP = {"Origin": APP, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}
JOB = {"agent": "scripted", "input": "tea"}
# What browser clients of the AI protocols read, see the protocol's "Pages of other origins".
EXPOSED = {
    *("location", "content-location", "x-workflow-run-id", "x-workflow-stream-tail-index", "etag", "retry-after"),
    *("x-vercel-ai-ui-message-stream", "stream-next-offset", "stream-up-to-date", "stream-cursor", "stream-closed"),
    *("idempotency-replayed", "x-should-retry"),
}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, cors_origins=f"http://localhost:3000, {APP.upper()}:443") as gateway:
        await gateway.offer("scripted")
        yield gateway


def values(headers: Mapping[str, str], name: str) -> set[str]:
    return {value.strip().lower() for value in headers.get(name, "").split(",")}


def check_readable(headers: Mapping[str, str]) -> None:
    assert headers["access-control-allow-origin"] == APP
    assert values(headers, "access-control-expose-headers") >= EXPOSED
    assert "origin" in values(headers, "vary")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/agents", 200),
        ("POST", "/v1/jobs", 202),
        ("GET", "/v1/sessions/nobody", 404),
        ("DELETE", "/v1/sessions/nobody", 404),
        ("PUT", "/v1/jobs", 405),
        ("GET", "/nothing/here", 404),
    ],
)
async def test_an_allowed_origin_reads_every_answer_and_every_refusal(
    gateway: Served, method: str, path: str, status: int
) -> None:
    body = JOB if method == "POST" else None
    answer = await gateway.client.request(method, path, json=body, headers=FROM_APP)
    assert answer.status_code == status
    check_readable(answer.headers)


async def test_an_allowed_origin_can_read_why_its_host_is_refused(gateway: Served) -> None:
    answer = await gateway.client.get("/v1/agents", headers=FROM_APP | {"Host": "evil.example"})
    assert (answer.status_code, answer.json()["code"]) == (421, "host_not_allowed")
    check_readable(answer.headers)


async def test_an_allowed_origin_reads_streams_and_their_refusals(gateway: Served) -> None:
    job = (await gateway.client.post("/v1/sessions/s/jobs", json=JOB, headers=FROM_APP)).json()
    for path, status in ((job["session_events_url"], 200), (job["events_url"], 200), ("/v1/sessions/no/events", 404)):
        async with SseStream(gateway.url + path, headers=FROM_APP) as stream:
            assert stream.status == status
            check_readable(stream.headers)
            assert stream.headers["cache-control" if status == 200 else "content-type"]


@pytest.mark.parametrize("path", ["/v1/jobs", "/v1/sessions/s/events", "/v1/sessions/s", "/nothing/here", "/"])
async def test_a_preflight_of_an_allowed_origin_permits_any_method_and_header(gateway: Served, path: str) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "content-type,idempotency-key,x-of-an-sdk",
    }
    answer = await gateway.client.request("OPTIONS", path, headers=FROM_APP | asked)
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-origin"] == APP
    assert values(answer.headers, "access-control-allow-methods") >= {"get", "post", "delete"}
    assert values(answer.headers, "access-control-allow-headers") >= {"content-type", "idempotency-key", "x-of-an-sdk"}
    assert values(answer.headers, "vary") >= {"origin"}
    assert int(answer.headers["access-control-max-age"]) > 0


@pytest.mark.parametrize("origin", ["https://evil.example", "http://app.example", "https://app.example:8443", "null"])
async def test_another_origin_is_neither_served_nor_let_read(gateway: Served, origin: str) -> None:
    asked = {"Access-Control-Request-Method": "POST"}
    for method, path in (("OPTIONS", "/v1/jobs"), ("POST", "/v1/jobs"), ("GET", "/v1/agents")):
        answer = await gateway.client.request(method, path, headers={"Origin": origin} | asked)
        assert (answer.status_code, answer.json()["code"]) == (403, "origin_not_allowed")
        assert "access-control-allow-origin" not in answer.headers
        assert "origin" in values(answer.headers, "vary")


async def test_a_program_gets_no_permission_and_a_cache_learns_that_answers_depend_on_the_origin(
    gateway: Served,
) -> None:
    answer = await gateway.client.get("/v1/agents")
    assert answer.status_code == 200
    assert "access-control-allow-origin" not in answer.headers
    assert "origin" in values(answer.headers, "vary")


async def test_options_that_are_no_preflight_are_answered_as_ever(gateway: Served) -> None:
    answer = await gateway.client.request("OPTIONS", "/v1/agents", headers=FROM_APP)
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


async def test_no_origin_is_allowed_by_default(redis_url: str) -> None:
    async with served(redis_url) as gateway:
        asked = {"Access-Control-Request-Method": "GET"}
        answer: httpx2.Response = await gateway.client.request("OPTIONS", "/v1/agents", headers=FROM_APP | asked)
        assert answer.status_code == 403
        assert not any(name.startswith("access-control") for name in answer.headers)
