"""Liveness, readiness with its reasons, metrics, the page and the description of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from holdfast.gateway.routes.web import POLICY
from jsonschema_rs import Draft202012Validator
from prometheus_client.parser import text_string_to_metric_families

from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.served import Served, raw_request, served


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


async def reasons(gateway: Served) -> list[str]:
    answer = await gateway.client.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.json()["code"], "retry-after" in answer.headers) == ("not_ready", True)
    found: list[str] = answer.json()["reasons"]
    return found


@pytest.mark.parametrize("path", ["/livez", "/readyz"])
async def test_a_gateway_with_a_good_redis_lives_and_is_ready(gateway: Served, path: str) -> None:
    assert (await gateway.client.get(path)).status_code == 200
    head = await gateway.client.head(path)
    assert (head.status_code, head.content) == (200, b"")


async def test_a_redis_that_may_evict_sessions_is_not_used(redis_server: Callable[..., RedisServer]) -> None:
    async with served(redis_server(maxmemory=50_000_000, maxmemory_policy="allkeys-lru").url) as gateway:
        found = await reasons(gateway)
    assert [reason.split(":")[0] for reason in found] == ["queue redis", "log redis"]
    assert all("allkeys-lru" in reason and "noeviction" in reason for reason in found)


async def test_a_replica_is_not_used(redis_server: Callable[..., RedisServer]) -> None:
    primary = redis_server()
    replica = redis_server(replicaof=f"127.0.0.1 {primary.port}")
    async with served(primary.url, log_redis_url=replica.url) as gateway:
        assert await reasons(gateway) == ["log redis: is a replica, which takes no writes"]


async def test_a_gateway_lives_without_redis_and_is_ready_once_it_is_there(
    redis_server: Callable[..., RedisServer],
) -> None:
    server = redis_server()
    server.kill()
    async with served(server.url) as gateway:
        assert (await gateway.client.get("/livez")).status_code == 200
        found = await reasons(gateway)
        assert all("does not answer" in reason for reason in found)
        server.start()
        await until(lambda: ready(gateway))


async def ready(gateway: Served) -> bool:
    return (await gateway.client.get("/readyz")).status_code == 200


async def test_a_redis_that_is_frozen_makes_the_gateway_unready_and_not_silent(
    redis_server: Callable[..., RedisServer],
) -> None:
    server = redis_server()
    async with served(server.url) as gateway:
        await until(lambda: ready(gateway))
        server.stop()
        found = await reasons(gateway)
        server.cont()
        assert all("does not answer" in reason for reason in found)


async def scrape(gateway: Served) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    answer = await gateway.client.get("/metrics")
    assert answer.headers["content-type"].startswith("text/plain")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


async def test_metrics_count_the_requests_that_were_refused_before_their_route_was_known(redis_url: str) -> None:
    host = b"Host: localhost\r\n"
    async with served(redis_url, head_seconds=0.5) as gateway:
        for request in (b"no request\r\n\r\n", b"GET / HTTP/2.0\r\n" + host + b"\r\n"):
            await raw_request(gateway.port, request)
        await raw_request(gateway.port, b"GET / HTTP/1.1\r\n" + host + b"X: " + b"x" * 40_000)
        await raw_request(gateway.port, b"GET / HTTP/1.1\r\n" + host)
        found = await scrape(gateway)
    counts = {dict(labels)["code"]: count for (name, labels), count in found.items() if "refusals" in name}
    assert counts == {"malformed_request": 2, "head_too_large": 1, "head_timeout": 1}


async def test_metrics_count_requests_by_route_and_never_by_id(gateway: Served) -> None:
    await gateway.offer("scripted")
    await gateway.client.post("/v1/sessions/secret-id/jobs", json={"agent": "scripted", "input": "x"})
    await gateway.client.get("/v1/sessions/secret-id")
    await gateway.client.get("/nothing/here")
    async with gateway.client.stream("GET", "/v1/sessions/secret-id/events"):
        found = await scrape(gateway)
    labels = {"method": "POST", "route": "/v1/sessions/{session_id}/jobs", "status": "202"}
    assert found["holdfast_http_requests_total", frozenset(labels.items())] == 1
    labels = {"method": "GET", "route": "/v1/sessions/{session_id}/events", "status": "200"}
    assert found["holdfast_http_requests_total", frozenset(labels.items())] == 1
    labels = {"method": "GET", "route": "none", "status": "404"}
    assert found["holdfast_http_requests_total", frozenset(labels.items())] == 1
    assert found["holdfast_jobs_accepted_total", frozenset({("replayed", "false")})] == 1
    assert found["holdfast_queue_depth", frozenset()] == 1
    assert found["holdfast_viewers", frozenset()] == 1
    assert not any("secret-id" in value for _, labels in found for _, value in labels)


async def test_metrics_are_there_while_redis_is_away(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server()
    async with served(server.url) as gateway:
        server.kill()
        assert (await scrape(gateway))["holdfast_queue_up", frozenset()] == 0


async def test_the_page_is_served_with_a_policy_and_not_sent_twice(gateway: Served) -> None:
    page = await gateway.client.get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == POLICY
    assert (page.headers["cache-control"], page.headers["x-content-type-options"]) == ("no-cache", "nosniff")
    again = await gateway.client.get("/", headers={"If-None-Match": page.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


@pytest.mark.parametrize(
    "name",
    [
        "index.html",
        "app.py",
        "__init__.py",
        "..%2fapp.py",
        "%2e%2e/app.py",
        "icon.svg%00",
        "vendor",
        "vendor/",
        "vendor/x",
    ],
)
async def test_nothing_but_the_files_of_the_page_is_served(gateway: Served, name: str) -> None:
    answer = await gateway.client.get(f"/web/{name}")
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def description(gateway: Served) -> dict[str, Any]:
    answer = await gateway.client.get("/openapi.json")
    found: dict[str, Any] = answer.json()
    return found


async def test_the_description_names_every_call_and_its_refusals_as_problems(gateway: Served) -> None:
    found = await description(gateway)
    assert set(found["paths"]) >= {
        "/v1/jobs",
        "/v1/sessions/{session_id}",
        "/v1/sessions/{session_id}/jobs",
        "/v1/sessions/{session_id}/jobs/{job_id}",
        "/v1/sessions/{session_id}/jobs/{job_id}/cancel",
        "/v1/sessions/{session_id}/jobs/{job_id}/answer",
        "/v1/sessions/{session_id}/jobs/{job_id}/events",
        "/v1/sessions/{session_id}/events",
        "/v1/sessions/{session_id}/messages",
        "/v1/agents",
        "/livez",
        "/readyz",
        "/metrics",
    }
    refusals = [
        answer
        for path in found["paths"].values()
        for operation in path.values()
        for status, answer in operation["responses"].items()
        if int(status) >= 400
    ]
    assert refusals
    assert all(list(answer["content"]) == ["application/problem+json"] for answer in refusals)


async def test_no_parameter_of_the_description_has_a_default_that_it_forbids(gateway: Served) -> None:
    """`Idempotency-Key` had: "" and a pattern of one character or more. A validator calls that invalid."""
    found = await description(gateway)
    operations = [operation for path in found["paths"].values() for operation in path.values()]
    schemas = [parameter["schema"] for operation in operations for parameter in operation.get("parameters", [])]
    assert [schema for schema in schemas if "pattern" in schema]
    for schema in schemas:
        if "default" in schema:
            Draft202012Validator(schema).validate(schema["default"])


async def test_every_reference_of_the_description_leads_somewhere(gateway: Served) -> None:
    found = await description(gateway)

    def references(value: Any) -> set[str]:
        if isinstance(value, dict):
            own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
            return own.union(*(references(part) for part in value.values()))
        if isinstance(value, list):
            return set().union(*(references(part) for part in value))
        return set()

    known = {f"#/components/schemas/{name}" for name in found["components"]["schemas"]}
    assert references(found) <= known
