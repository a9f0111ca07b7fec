"""A web page that the gateway does not know can neither read nor change anything through a visitor's browser."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest

from tests.support.served import RawAnswer, Served, raw_request, served
from tests.support.sse import SseStream

EVERY_CALL = [
    ("POST", "/v1/jobs"),
    ("POST", "/v1/sessions/s/jobs"),
    ("POST", "/v1/sessions/s/jobs/j/cancel"),
    ("POST", "/v1/sessions/s/jobs/j/answer"),
    ("DELETE", "/v1/sessions/s"),
    ("GET", "/v1/sessions/s"),
    ("GET", "/v1/sessions/s/jobs"),
    ("GET", "/v1/sessions/s/messages"),
    ("GET", "/v1/sessions/s/events"),
    ("GET", "/v1/sessions/s/jobs/j/events"),
    ("GET", "/v1/agents"),
    ("GET", "/nothing/here"),
]
PAGE_CALLS = [*EVERY_CALL, ("GET", "/"), ("GET", "/web/page.js"), ("GET", "/metrics"), ("OPTIONS", "/v1/jobs")]
BODY = orjson.dumps({"agent": "scripted", "input": "tea"})


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        yield gateway


async def ask(gateway: Served, method: str, path: str, *headers: str, host: str = "localhost") -> RawAnswer:
    """Send a request whose header lines are exactly these."""
    body = BODY if method == "POST" else b""
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}", "Connection: close", *headers]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body)}", "", ""]
    return await raw_request(gateway.port, "\r\n".join(lines).encode("latin-1") + body)


def refused(answer: RawAnswer) -> tuple[int, str]:
    """The status and the code of a problem."""
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = orjson.loads(answer.body)
    assert problem["status"] == answer.status
    return answer.status, problem["code"]


async def keys(gateway: Served) -> set[bytes]:
    return {key async for key in gateway.redis.scan_iter()}


@pytest.mark.parametrize(("method", "path"), PAGE_CALLS)
async def test_a_foreign_host_is_refused_whatever_is_called(gateway: Served, method: str, path: str) -> None:
    before = await keys(gateway)
    assert refused(await ask(gateway, method, path, host="evil.example")) == (421, "host_not_allowed")
    assert await keys(gateway) == before


@pytest.mark.parametrize(
    "host",
    [
        *("localhost", "LOCALHOST:8000", "localhost.", "chat.localhost:1", "127.0.0.1", "127.0.0.1:8000", "127.9.9.9"),
        *("[::1]", "[::1]:8000", "[0:0:0:0:0:0:0:1]"),
    ],
)
async def test_loopback_names_and_addresses_are_allowed_on_any_port(gateway: Served, host: str) -> None:
    assert (await ask(gateway, "GET", "/livez", host=host)).status == 200


@pytest.mark.parametrize(
    "host",
    [
        *(
            "evil.example:8000",
            "localhost.evil.example",
            "evillocalhost",
            "127.0.0.1.evil.example",
            "10.0.0.5",
            "0.0.0.0",
        ),
        *("[::2]", "::1", "localhost:port", "localhost:", "localhost:8000:1", "a@localhost", "localhost/x", "x" * 300),
        *("", "[", "[]", "localhost..", ".localhost", "127.0.0.1, evil.example", "\xe9.localhost"),
    ],
)
async def test_any_other_host_is_refused(gateway: Served, host: str) -> None:
    assert refused(await ask(gateway, "GET", "/livez", host=host)) == (421, "host_not_allowed")


@pytest.mark.parametrize("hosts", [("localhost", "evil.example"), ("evil.example", "localhost")])
async def test_a_second_host_does_not_hide_a_foreign_one(gateway: Served, hosts: tuple[str, str]) -> None:
    answer = await ask(gateway, "GET", "/v1/agents", f"Host: {hosts[1]}", host=hosts[0])
    assert answer.status in (400, 421)


@pytest.mark.parametrize(
    ("entries", "host", "status"),
    [
        ("chat.example.com", "chat.example.com", 200),
        ("chat.example.com", "Chat.Example.COM.:8443", 200),
        ("chat.example.com", "example.com", 421),
        ("chat.example.com", "a.chat.example.com", 421),
        ("a.example, chat.example.com:8443", "chat.example.com:8443", 200),
        ("a.example, chat.example.com:8443", "chat.example.com", 421),
        ("*.example.com", "a.b.example.com:80", 200),
        ("*.example.com", "example.com", 421),
        ("*.example.com", "evilexample.com", 421),
        ("10.0.0.5", "10.0.0.5:8000", 200),
        ("2001:db8::1,[2001:db8::2]:80", "[2001:DB8:0::1]:8000", 200),
        ("2001:db8::1,[2001:db8::2]:80", "[2001:db8::2]:80", 200),
        ("*", "anything.example:1", 200),
        ("*", "not a host", 421),
        ("chat.example.com", "127.0.0.1:8000", 200),
    ],
)
async def test_hosts_can_be_added_to_the_loopback_ones(redis_url: str, entries: str, host: str, status: int) -> None:
    async with served(redis_url, allowed_hosts=entries) as gateway:
        assert (await ask(gateway, "GET", "/livez", host=host)).status == status


@pytest.mark.parametrize(("host", "status"), [("10.0.0.5:8000", 200), ("[2001:db8::1]", 200), ("evil.example", 421)])
async def test_a_gateway_on_every_interface_answers_to_ip_addresses_and_to_no_other_name(
    redis_url: str, host: str, status: int
) -> None:
    async with served(redis_url, host="0.0.0.0") as gateway:
        assert (await ask(gateway, "GET", "/readyz", host=host)).status in (status, 503 if status == 200 else status)


FOREIGN = [
    pytest.param(["Origin: https://evil.example"], id="another origin"),
    pytest.param(["Origin: null"], id="a sandboxed page"),
    pytest.param(["Origin: http://localhost:3000"], id="another port"),
    pytest.param(["Origin: https://localhost:80"], id="the default port of another scheme"),
    pytest.param(["Origin: http://localhost", "Origin: https://evil.example"], id="two origins"),
    pytest.param(["Origin: https://evil.example", "Origin: http://localhost"], id="two origins, the own one last"),
    pytest.param(["Sec-Fetch-Site: cross-site"], id="another site"),
    pytest.param(["Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin"], id="two sites"),
    pytest.param(["Sec-Fetch-Site: same-site"], id="another origin of the site"),
    pytest.param(["Sec-Fetch-Site: cross-site", "Origin: http://localhost"], id="another scheme of the own host"),
    pytest.param(["Sec-Fetch-Site: none", "Origin: https://evil.example"], id="an origin that claims to be no page"),
    pytest.param(["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: no-cors"], id="an image or a form"),
]


@pytest.mark.parametrize("headers", FOREIGN)
async def test_a_page_of_another_origin_is_refused_before_any_effect(gateway: Served, headers: list[str]) -> None:
    before = await keys(gateway)
    assert refused(await ask(gateway, "POST", "/v1/jobs", *headers)) == (403, "origin_not_allowed")
    assert refused(await ask(gateway, "GET", "/v1/sessions/s/events", *headers)) == (403, "origin_not_allowed")
    assert await keys(gateway) == before


@pytest.mark.parametrize(("method", "path"), EVERY_CALL)
async def test_another_site_is_refused_whatever_is_called(gateway: Served, method: str, path: str) -> None:
    answer = await ask(gateway, method, path, "Sec-Fetch-Site: cross-site", "Origin: https://evil.example")
    assert refused(answer) == (403, "origin_not_allowed")


async def test_a_cancel_from_another_site_leaves_the_job_as_it_was(gateway: Served) -> None:
    """It needs no body, so a form of any page can send it."""
    job = (await gateway.client.post("/v1/sessions/s/jobs", json={"agent": "scripted", "input": "tea"})).json()
    path = f"/v1/sessions/s/jobs/{job['job_id']}"
    answer = await ask(gateway, "POST", f"{path}/cancel", "Origin: https://evil.example", "Sec-Fetch-Site: cross-site")
    assert refused(answer) == (403, "origin_not_allowed")
    state = await gateway.redis.hgetall("holdfast:{s}:jobs")
    assert not any(b"cancel" in field for field in state)


@pytest.mark.parametrize(("method", "path"), [("GET", "/v1/agents"), ("POST", "/v1/jobs"), ("GET", "/")])
@pytest.mark.parametrize(
    "headers",
    [
        pytest.param([], id="a program"),
        pytest.param(["Origin: http://localhost:8000"], id="the own page, without Sec-Fetch-Site"),
        pytest.param(["Origin: http://localhost:8000", "Sec-Fetch-Site: same-origin"], id="the own page"),
        pytest.param(["Sec-Fetch-Site: same-origin", "Sec-Fetch-Mode: cors"], id="a GET of the own page"),
        pytest.param(
            ["Origin: https://chat.example", "Sec-Fetch-Site: same-origin"], id="behind a proxy that sets Host"
        ),
        pytest.param(["Sec-Fetch-Site: none", "Sec-Fetch-Mode: navigate"], id="an address that was typed"),
    ],
)
async def test_programs_and_the_own_page_are_served(
    gateway: Served, method: str, path: str, headers: list[str]
) -> None:
    assert (await ask(gateway, method, path, *headers, host="LocalHost:8000")).status in (200, 202)


@pytest.mark.parametrize(
    ("origin", "host"),
    [("https://localhost", "localhost"), ("https://localhost", "localhost:443"), ("http://[::1]", "[::1]:80")],
)
async def test_the_default_port_may_be_named_or_not(gateway: Served, origin: str, host: str) -> None:
    assert (await ask(gateway, "POST", "/v1/jobs", f"Origin: {origin}", host=host)).status == 202


@pytest.mark.parametrize("path", ["/", "/console", "/web/icon.svg", "/openapi.json", "/livez"])
async def test_a_link_on_another_site_leads_to_the_page(gateway: Served, path: str) -> None:
    headers = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]
    assert (await ask(gateway, "GET", path, *headers)).status == 200


@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/v1/sessions/s/messages"), ("GET", "/v1/sessions/s/events"), ("POST", "/v1/jobs")]
)
async def test_a_link_or_a_form_on_another_site_leads_to_nothing_else(gateway: Served, method: str, path: str) -> None:
    headers = ["Sec-Fetch-Site: cross-site", "Sec-Fetch-Mode: navigate", "Sec-Fetch-Dest: document"]
    assert refused(await ask(gateway, method, path, *headers)) == (403, "origin_not_allowed")


async def test_an_event_source_of_the_own_page_is_served(gateway: Served) -> None:
    await gateway.client.post("/v1/sessions/s/jobs", json={"agent": "scripted", "input": "tea"})
    headers = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"}
    async with SseStream(f"{gateway.url}/v1/sessions/s/events", headers=headers) as stream:
        assert (stream.status, "access-control-allow-origin" in stream.headers) == (200, False)


async def test_refusals_are_counted(gateway: Served) -> None:
    await ask(gateway, "GET", "/v1/agents", host="evil.example")
    found = (await gateway.client.get("/metrics")).text
    assert 'holdfast_http_requests_total{method="GET",route="none",status="421"} 1.0' in found
