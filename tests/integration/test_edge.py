"""What every response has: fields that protect browsers, and the id of its request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from tests.support.process import Processes
from tests.support.redis_server import RedisServer
from tests.support.served import Served, raw_request, served
from tests.support.sse import SseStream
from tests.support.websocket_client import open_socket

PATHS = ["/", "/web/page.js", "/livez", "/v1/agents", "/v1/sessions/none", "/nothing", "/v1/sessions/none/events"]


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


@pytest.mark.parametrize("path", PATHS)
async def test_no_response_lets_a_browser_guess_its_type_or_tell_its_address(gateway: Served, path: str) -> None:
    fields = (await gateway.client.get(path)).headers
    assert (fields["x-content-type-options"], fields["referrer-policy"]) == ("nosniff", "no-referrer")


async def test_a_stream_has_the_fields_of_all_responses(gateway: Served) -> None:
    fields = {"X-Request-Id": "mine.1"}
    async with SseStream(f"{gateway.url}/v1/sessions/s/events?wait=true", headers=fields) as stream:
        assert stream.headers["x-content-type-options"] == "nosniff"
        assert stream.headers["x-request-id"] == "mine.1"


async def test_the_handshake_of_a_websocket_has_the_fields_of_all_responses(gateway: Served) -> None:
    given = {"X-Request-Id": "mine.4"}
    async with open_socket(gateway.port, query="?wait=true", additional_headers=given) as socket:
        assert socket.response is not None
        fields = socket.response.headers
        assert fields["x-content-type-options"] == "nosniff"
        assert fields.get_all("x-request-id") == ["mine.4"]
    async with open_socket(gateway.port, query="?wait=true", additional_headers={"X-Request-Id": "a b"}) as socket:
        assert socket.response is not None
        assert socket.response.headers["x-request-id"] not in ("", "a b", "mine.4")


@pytest.mark.parametrize(
    ("session", "fields", "status"),
    [
        ("none", {}, 404),
        ("s?wait=true", {"Sec-WebSocket-Version": "12"}, 426),
        ("s?wait=true", {"Sec-WebSocket-Key": "short"}, 400),
        ("s?wait=true", {"Origin": "http://foreign.example"}, 403),
        ("s?last_event_id=nonsense", {}, 400),
    ],
)
async def test_a_refused_websocket_has_the_fields_of_all_responses(
    gateway: Served, session: str, fields: dict[str, str], status: int
) -> None:
    path, _, query = session.partition("?")
    offered = {
        "Connection": "Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        "X-Request-Id": "mine.5",
    }
    answer = await gateway.client.get(f"/v1/sessions/{path}/ws?{query}", headers=offered | fields)
    assert answer.status_code == status
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers.get_list("x-request-id") == ["mine.5"]


@pytest.mark.parametrize("given", ["", "a b", "x" * 65, "a\tb", "ä"])
async def test_a_request_id_that_cannot_be_one_is_replaced(gateway: Served, given: str) -> None:
    headers = [(b"x-request-id", given.encode())]
    made = [(await gateway.client.get("/livez", headers=headers)).headers["x-request-id"] for _ in range(2)]
    assert given not in made
    assert len(set(made)) == 2


async def test_answers_with_content_are_stored_by_no_cache(gateway: Served) -> None:
    assert (await gateway.client.get("/v1/sessions")).headers["cache-control"] == "no-store"


async def test_the_log_lines_of_a_request_have_its_id(
    processes: Processes, redis_server: Callable[[], RedisServer]
) -> None:
    server = redis_server()
    gateway = processes.gateway(server.url)
    await gateway.until_ready()
    server.kill()
    async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
        await client.get("/v1/sessions/s", headers={"X-Request-Id": "mine.2"})
    await gateway.until_output('"request_id": "mine.2"')


@pytest.mark.parametrize(
    ("request_line", "status"),
    [("GET / HTTP/1.1\r\nHost :x", 400), ("GET / HTTP/3.0", 400), ("GET / HTTP/1.1\r\nA: " + "x" * 40_000, 431)],
)
async def test_an_answer_without_a_route_has_the_fields_of_all_responses(
    gateway: Served, request_line: str, status: int
) -> None:
    answers = [await raw_request(gateway.port, f"{request_line}\r\n\r\n".encode()) for _ in range(2)]
    for answer in answers:
        assert answer.status == status
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert len({answer.headers["x-request-id"] for answer in answers}) == 2


async def test_the_body_of_an_error_does_not_have_the_id_so_that_equal_refusals_have_equal_bytes(
    gateway: Served,
) -> None:
    answers = [await gateway.client.get("/v1/sessions/none", headers={"X-Request-Id": name}) for name in ("a", "b")]
    assert answers[0].content == answers[1].content
