"""Every refusal is a problem with a stable code, names the field and leaks nothing. Hostile requests are raw bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import orjson
import pytest
from holdfast.gateway import limits
from structlog.testing import capture_logs

from tests.support.process import until
from tests.support.redis_server import RedisServer
from tests.support.served import RawAnswer, Served, raw_request, served

BODY: dict[str, Any] = {"agent": "scripted", "input": "tea"}
JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, max_body_bytes=4096) as gateway:
        await gateway.offer("scripted")
        yield gateway


def check_problem(
    answer: httpx2.Response | RawAnswer, status: int, code: str, field: str | None = None
) -> dict[str, Any]:
    content = answer.content if isinstance(answer, httpx2.Response) else answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    problem: dict[str, Any] = orjson.loads(content)
    assert (problem["status"], problem["code"], problem.get("field")) == (status, code, field)
    assert (answer.status_code if isinstance(answer, httpx2.Response) else answer.status) == status
    assert problem["type"] == "about:blank"
    assert problem["title"]
    return problem


def request(target: str, *headers: str, method: str = "GET", body: bytes = b"") -> bytes:
    lines = [f"{method} {target} HTTP/1.1", "Host: localhost", "Connection: close", *headers]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def test_a_bad_field_is_named_with_what_is_allowed(gateway: Served) -> None:
    answer = await gateway.client.post("/v1/sessions/s/jobs", json=BODY | {"colour": "red", "timeout_s": 0})
    problem = check_problem(answer, 422, "invalid_request", "timeout_s")
    assert problem["errors"] == [
        {"field": "timeout_s", "detail": "should be greater than or equal to 1"},
        {"field": "colour", "detail": "unknown field"},
    ]


@pytest.mark.parametrize(
    ("body", "field", "allowed"),
    [
        ([], "body", "should be an object"),
        (BODY | {"options": []}, "options", "should be an object"),
        (BODY | {"agent": ""}, "agent", "should have at least 1 character"),
        (BODY | {"input": {"messages": []}}, "input.messages", "should have at least 1 item"),
        (BODY | {"input": {"messages": {}}}, "input.messages", "should be an array"),
        (
            BODY | {"input": {"messages": [{"role": "user", "content": 1}]}},
            "input.messages.0.content",
            "should be a string or an array of objects",
        ),
    ],
)
async def test_what_is_allowed_is_said_in_the_words_of_json(
    gateway: Served, body: Any, field: str, allowed: str
) -> None:
    problem = check_problem(await gateway.client.post("/v1/jobs", json=body), 422, "invalid_request", field)
    assert problem["detail"] == f"{field}: {allowed}"


@pytest.mark.parametrize("body", [b"", b"{", b'{"agent": "\\ud800"}', b"[" * 4000, b"\xff\xfe"])
async def test_a_body_that_is_no_json_is_refused(gateway: Served, body: bytes) -> None:
    answer = await gateway.client.post("/v1/jobs", content=body, headers=JSON)
    check_problem(answer, 422, "invalid_request", "body")


@pytest.mark.parametrize(
    "media_type", ["text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", ""]
)
async def test_another_media_type_is_refused(gateway: Served, media_type: str) -> None:
    answer = await gateway.client.post("/v1/jobs", content=orjson.dumps(BODY), headers={"Content-Type": media_type})
    check_problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize("coding", ["gzip", "BR", "identity, deflate"])
async def test_a_body_with_a_content_coding_is_refused(gateway: Served, coding: str) -> None:
    headers = {**JSON, "Content-Encoding": coding}
    answer = await gateway.client.post("/v1/jobs", content=orjson.dumps(BODY), headers=headers)
    assert "Content-Encoding" in check_problem(answer, 415, "unsupported_media_type")["detail"]


async def test_a_body_with_the_identity_coding_is_taken(gateway: Served) -> None:
    headers = {**JSON, "Content-Encoding": "Identity"}
    assert (await gateway.client.post("/v1/jobs", content=orjson.dumps(BODY), headers=headers)).status_code == 202


async def test_a_busy_redis_is_logged_with_its_reason(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(busy_reply_threshold=10)
    async with served(server.url) as gateway:
        assert (await gateway.client.get("/v1/sessions/s")).status_code == 404
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(b"EVAL 'while true do end' 0\r\n")

        async def is_logged() -> bool:
            await gateway.client.get("/v1/sessions/s")
            return any("BUSY" in str(line.get("error")) for line in lines)

        with capture_logs() as lines:
            await until(is_logged)
            readiness = await gateway.client.get("/readyz")
        await gateway.redis.call("SCRIPT", "KILL")
        await reader.readline()
        writer.close()
    assert "does not answer (BUSY)" in readiness.json()["detail"]


async def test_a_body_in_json_with_its_charset_named_is_taken(gateway: Served) -> None:
    headers = {"Content-Type": 'Application/JSON; charset="UTF-8"'}
    assert (await gateway.client.post("/v1/jobs", content=orjson.dumps(BODY), headers=headers)).status_code == 202


async def test_a_body_that_says_it_is_too_large_is_refused_before_it_comes(gateway: Served) -> None:
    answer = await gateway.client.post("/v1/jobs", content=b"x" * 4097, headers=JSON)
    check_problem(answer, 413, "body_too_large")


async def test_a_body_that_turns_out_too_large_is_refused_while_it_comes(gateway: Served) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield b"x" * 1024

    answer = await gateway.client.post("/v1/jobs", content=pieces(), headers=JSON)
    check_problem(answer, 413, "body_too_large")


async def test_a_body_of_exactly_the_limit_is_taken(gateway: Served) -> None:
    body = orjson.dumps(BODY | {"input": "x" * 4096})
    body = orjson.dumps(BODY | {"input": "x" * (8192 - len(body))})
    assert len(body) == 4096
    assert (await gateway.client.post("/v1/jobs", content=body, headers=JSON)).status_code == 202


async def test_a_body_that_never_ends_is_given_up(gateway: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "BODY_DEADLINE_S", 0.05)
    head = request("/v1/jobs", "Content-Type: application/json", "Content-Length: 100", method="POST")
    check_problem(await raw_request(gateway.port, head + b"{"), 408, "body_timeout")


async def test_a_client_that_leaves_in_the_middle_of_its_body_is_no_error(gateway: Served) -> None:
    head = request("/v1/jobs", "Content-Type: application/json", "Content-Length: 100", method="POST")
    tasks = gateway.server.server_state.tasks
    with capture_logs() as lines:
        _, writer = await asyncio.open_connection("127.0.0.1", gateway.port)
        writer.write(head + b"{")
        await until(lambda: bool(tasks))
        writer.close()
        await until(lambda: not tasks)
    assert [line for line in lines if line["event"] != "ready"] == []


@pytest.mark.parametrize(
    "session_id", ["a%20b", "a.b", "x" * 129, "%00", "a%0d%0aSet-Cookie:%20x=1", "%E2%82%AC", "{s}"]
)
async def test_a_session_id_outside_the_grammar_can_be_neither_made_nor_read(gateway: Served, session_id: str) -> None:
    post = request(f"/v1/sessions/{session_id}/jobs", "Content-Type: application/json", method="POST", body=b"{}")
    written = await raw_request(gateway.port, post)
    check_problem(written, 422, "invalid_request", "session_id")
    read = await raw_request(gateway.port, request(f"/v1/sessions/{session_id}/events"))
    check_problem(read, 404, "session_unknown")
    assert "set-cookie" not in written.headers | read.headers


@pytest.mark.parametrize(
    "headers",
    [
        pytest.param(["Idempotency-Key: "], id="empty"),
        pytest.param(["Idempotency-Key: " + "x" * 256], id="256 characters"),
        pytest.param(["Idempotency-Key: a b"], id="a space"),
        pytest.param(["Idempotency-Key: \xe9"], id="not ASCII"),
        pytest.param(["Idempotency-Key: a", "Idempotency-Key: b"], id="two of them"),
    ],
)
async def test_an_idempotency_key_that_cannot_be_used_is_refused(gateway: Served, headers: list[str]) -> None:
    post = request("/v1/jobs", "Content-Type: application/json", *headers, method="POST", body=orjson.dumps(BODY))
    check_problem(await raw_request(gateway.port, post), 422, "invalid_request", "Idempotency-Key")


async def test_an_idempotency_key_of_255_visible_characters_is_taken(gateway: Served) -> None:
    headers = {"Idempotency-Key": "~" * 254 + "!"}
    assert (await gateway.client.post("/v1/jobs", json=BODY, headers=headers)).status_code == 202


MALFORMED = [
    *("$", "+", "-", ">", "0", "0-", "-1", "1-1", "5", "0-1", "00-0", "now", "null", "x" * 5000),
    *("01763683200123-2", "1763683200123-02", "1763683200123-0", "1763683200123", "1763683200123-2 1"),
    *("1763683200123-2-3", "9" * 16 + "-1", "1" + "0" * 400 + "-1", "1763683200123-99999999999"),
    *("\xb2763683200123-2", "1763683200123-\xb2"),
]


@pytest.mark.parametrize("cursor", MALFORMED)
async def test_a_malformed_cursor_in_the_header_is_refused(gateway: Served, cursor: str) -> None:
    answer = await raw_request(gateway.port, request("/v1/sessions/s/events", f"Last-Event-ID: {cursor}"))
    check_problem(answer, 400, "cursor_invalid")


@pytest.mark.parametrize(
    "cursor", [*MALFORMED, " 1763683200123-2", "1763683200123-2\n", "1763683200123-2\0", "0-0\r\n\r\n"]
)
async def test_a_malformed_cursor_in_the_query_is_refused(gateway: Served, cursor: str) -> None:
    answer = await gateway.client.get("/v1/sessions/s/events", params={"last_event_id": cursor})
    check_problem(answer, 400, "cursor_invalid")


async def test_two_cursors_in_one_place_are_refused(gateway: Served) -> None:
    twice = request("/v1/sessions/s/events", "Last-Event-ID: 0-0", "Last-Event-ID: 0-0")
    check_problem(await raw_request(gateway.port, twice), 400, "cursor_invalid")
    answer = await gateway.client.get("/v1/sessions/s/events?last_event_id=0-0&last_event_id=0-0")
    check_problem(answer, 400, "cursor_invalid")


async def test_the_header_wins_over_a_query_that_would_be_refused(gateway: Served) -> None:
    headers = {"Last-Event-ID": "1763683200123-2"}
    answer = await gateway.client.get("/v1/sessions/s/events?last_event_id=rubbish", headers=headers)
    check_problem(answer, 404, "session_unknown")


async def test_an_empty_cursor_is_none_and_leaves_the_word_to_the_query(gateway: Served) -> None:
    empty = await raw_request(gateway.port, request("/v1/sessions/s/events?last_event_id=", "Last-Event-ID: "))
    check_problem(empty, 404, "session_unknown")
    query = await raw_request(gateway.port, request("/v1/sessions/s/events?last_event_id=x", "Last-Event-ID:"))
    check_problem(query, 400, "cursor_invalid")


@pytest.mark.parametrize(("query", "field"), [("from=then", "from"), ("from=", "from"), ("raw=perhaps", "raw")])
async def test_a_query_that_is_not_understood_is_named(gateway: Served, query: str, field: str) -> None:
    answer = await gateway.client.get(f"/v1/sessions/s/events?{query}")
    check_problem(answer, 422, "invalid_request", field)


@pytest.mark.parametrize("accept", ["application/json", "text/html", "image/*", "text/event-stream;q=0"])
async def test_a_client_that_takes_neither_form_of_events_is_told_so(gateway: Served, accept: str) -> None:
    answer = await gateway.client.get("/v1/sessions/s/events", headers={"Accept": accept})
    check_problem(answer, 406, "not_acceptable")


@pytest.mark.parametrize(
    "path", ["", "/jobs", "/jobs/j", "/jobs/j/events", "/messages", "/events", "/jobs/j%00:agent", "/jobs/a%20b/events"]
)
async def test_reading_an_unknown_session_says_so_whatever_is_asked(gateway: Served, path: str) -> None:
    answer = await gateway.client.get(f"/v1/sessions/nobody{path}")
    expected = "job_unknown" if "%" in path else "session_unknown"
    check_problem(answer, 404, expected)


@pytest.mark.parametrize(("method", "path"), [("POST", "/jobs/j/cancel"), ("DELETE", "")])
async def test_an_unknown_session_can_be_neither_cancelled_nor_deleted(gateway: Served, method: str, path: str) -> None:
    check_problem(await gateway.client.request(method, f"/v1/sessions/nobody{path}"), 404, "session_unknown")


@pytest.mark.parametrize(("method", "path"), [("GET", ""), ("GET", "/events"), ("POST", "/cancel")])
async def test_an_unknown_job_of_a_session_is_said_to_be_unknown(gateway: Served, method: str, path: str) -> None:
    await gateway.client.post("/v1/sessions/s/jobs", json=BODY)
    check_problem(await gateway.client.request(method, f"/v1/sessions/s/jobs/nobody{path}"), 404, "job_unknown")


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/jobs/", "/v1/sessions/s/", "/docs", "/favicon.ico", "/web/../app.py", "//"]
)
async def test_an_address_where_nothing_is_answers_with_a_problem(gateway: Served, path: str) -> None:
    check_problem(await raw_request(gateway.port, request(path)), 404, "not_found")


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/jobs", "POST"),
        ("PUT", "/v1/sessions/s", "DELETE, GET"),
        ("PATCH", "/v1/sessions/s/jobs", "GET, POST"),
        ("POST", "/livez", "GET, HEAD"),
        ("OPTIONS", "/v1/agents", "GET"),
        ("TRACE", "/v1/agents", "GET"),
    ],
)
async def test_another_method_is_refused_with_those_that_are_allowed(
    gateway: Served, method: str, path: str, allow: str
) -> None:
    answer = await gateway.client.request(method, path)
    check_problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == allow


async def test_head_on_events_is_refused_without_a_body(gateway: Served) -> None:
    answer = await raw_request(gateway.port, request("/v1/sessions/s/events", method="HEAD"))
    assert (answer.status, answer.headers["allow"], answer.body) == (405, "GET", b"")


@pytest.mark.parametrize(
    ("path", "part"), [("/v1/agents", "agents.json_response"), ("/v1/sessions/s/events", "events.read_stream_request")]
)
async def test_what_nobody_foresaw_is_logged_and_answered_without_a_word_of_it(
    gateway: Served, monkeypatch: pytest.MonkeyPatch, path: str, part: str
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("secret of the house")

    monkeypatch.setattr(f"holdfast.gateway.routes.{part}", fail)
    with capture_logs() as lines:
        answer = await gateway.client.get(path)
    problems = [line for line in lines if line["log_level"] != "info"]  # the gateway may become ready meanwhile
    assert [(line["log_level"], str(line["exc_info"])) for line in problems] == [("error", "secret of the house")]
    check_problem(answer, 500, "internal")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text


class AwayRedis:
    """A gateway whose Redis was killed after it had answered once."""

    def __init__(self, gateway: Served, server: RedisServer) -> None:
        self.gateway, self.server = gateway, server


@pytest.fixture
async def away(redis_server: Any) -> AsyncIterator[AwayRedis]:
    server = redis_server()
    async with served(server.url) as gateway:
        await gateway.offer("scripted")
        assert (await gateway.client.post("/v1/sessions/s/jobs", json=BODY)).status_code == 202
        server.kill()
        yield AwayRedis(gateway, server)


async def test_a_job_that_may_have_been_accepted_is_named_with_when_to_repeat(away: AwayRedis) -> None:
    answer = await away.gateway.client.post("/v1/sessions/s/jobs", json=BODY, headers={"Idempotency-Key": "k"})
    problem = check_problem(answer, 503, "log_unavailable")
    assert len(problem["job_id"]) >= 16
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sessions/s"),
        ("GET", "/v1/sessions/s/jobs"),
        ("GET", "/v1/sessions/s/jobs/j"),
        ("GET", "/v1/sessions/s/messages"),
        ("POST", "/v1/sessions/s/jobs/j/cancel"),
        ("DELETE", "/v1/sessions/s"),
        ("GET", "/v1/agents"),
    ],
)
async def test_every_other_call_says_when_redis_is_away(away: AwayRedis, method: str, path: str) -> None:
    answer = await away.gateway.client.request(method, path)
    check_problem(answer, 503, "log_unavailable")
    assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("path", ["/v1/sessions/s/events", "/v1/sessions/s/jobs/j/events"])
async def test_an_event_source_is_sent_away_with_a_200_that_it_comes_back_from(away: AwayRedis, path: str) -> None:
    answer = await away.gateway.client.get(path, headers={"Last-Event-ID": "1763683200123-2"})
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/event-stream")
    assert answer.text.startswith("retry: ")


async def test_a_reader_of_lines_is_told_that_the_log_is_away(away: AwayRedis) -> None:
    answer = await away.gateway.client.get("/v1/sessions/s/events", headers={"Accept": "application/x-ndjson"})
    check_problem(answer, 503, "log_unavailable")
    assert int(answer.headers["retry-after"]) > 0


async def test_a_gateway_recovers_by_itself_when_redis_is_back(away: AwayRedis) -> None:
    assert (await away.gateway.client.get("/v1/sessions/s")).status_code == 503
    away.server.start()
    assert (await away.gateway.client.get("/v1/sessions/s")).status_code == 404


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/sessions/unknown"),
        ("GET", "/v1/nothing"),
        ("GET", "/v1/sessions?limit=0"),
        ("PUT", "/v1/sessions"),
        ("POST", "/v1/sessions/s/jobs"),
        ("GET", "/openai/v1/responses/unknown"),
        ("GET", "/openai/v1/models/unknown"),
        ("POST", "/ai-sdk/v7/scripted"),
        ("GET", "/ai-sdk/v7/scripted/unknown/stream"),
        ("POST", "/ag-ui/scripted"),
        ("POST", "/copilotkit"),
    ],
)
async def test_no_error_may_be_stored_by_a_cache(gateway: Served, method: str, path: str) -> None:
    answer = await gateway.client.request(method, path)
    assert answer.status_code >= 400 or answer.status_code == 204
    assert answer.headers["cache-control"] == "no-store"


async def test_a_refusal_before_any_route_may_not_be_stored_either(gateway: Served) -> None:
    answer = await gateway.client.get("/v1/sessions", headers={"Host": "evil.example"})
    assert (answer.status_code, answer.headers["cache-control"]) == (421, "no-store")
