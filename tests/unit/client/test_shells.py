"""Both forms of the client over real sockets: the one with asyncio and the one without do the same."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from holdfast.client import (
    ArgumentInvalid,
    Client,
    Event,
    JobFailed,
    JobResult,
    ProtocolError,
    Refused,
    SyncClient,
    Unavailable,
    retries,
)

from tests.support.canned import GONE, HEAD, Canned, response

ACCEPTED = response("202 Accepted", b'{"job_id":"j","session_id":"s"}')
UNAUTHENTICATED = response("401 Unauthorized", b'{"code":"unauthenticated","detail":"The token has expired"}')


@pytest.fixture
def canned() -> Iterator[Callable[..., Canned]]:
    servers: list[Canned] = []

    def start(*answers: bytes, silent: bool = False) -> Canned:
        servers.append(Canned(*answers, silent=silent))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "FIRST_DELAY_S", 0.01)


class Asynchronous:
    """The calls of these tests, by Client."""

    def events(self, url: str, options: dict[str, Any], *path: str, **stream: Any) -> list[Event]:
        async def read() -> list[Event]:
            async with Client(url, **options) as client:
                return [event async for event in client.stream(*path, **stream)]

        return asyncio.run(read())

    def run(self, url: str, options: dict[str, Any]) -> JobResult:
        async def run() -> JobResult:
            async with Client(url, **options) as client:
                return await client.run("hi")

        return asyncio.run(run())

    def session(self, url: str, options: dict[str, Any]) -> dict[str, Any]:
        async def read() -> dict[str, Any]:
            async with Client(url, **options) as client:
                return await client.session("s")

        return asyncio.run(read())


class Synchronous:
    """The same by SyncClient."""

    def events(self, url: str, options: dict[str, Any], *path: str, **stream: Any) -> list[Event]:
        with SyncClient(url, **options) as client:
            return list(client.stream(*path, **stream))

    def run(self, url: str, options: dict[str, Any]) -> JobResult:
        with SyncClient(url, **options) as client:
            return client.run("hi")

    def session(self, url: str, options: dict[str, Any]) -> dict[str, Any]:
        with SyncClient(url, **options) as client:
            return client.session("s")


Form = Asynchronous | Synchronous
pytestmark = pytest.mark.parametrize("form", [Asynchronous(), Synchronous()], ids=["async", "sync"])


def test_a_stream_cut_inside_an_event_goes_on_after_the_last_whole_one(form: Form, canned: Any) -> None:
    first = b'id: 1-1\ndata: {"type":"a"}\n\nid: 1-2\ndata: {"ty'
    server = canned(HEAD + first, HEAD + b'id: 1-2\ndata: {"type":"b"}\n\n', GONE)
    assert form.events(server.url, {}, "s") == [Event("1-1", {"type": "a"}), Event("1-2", {"type": "b"})]
    assert server.fields("last-event-id") == [None, "1-1", "1-2"]


def test_a_connection_that_falls_silent_is_lost_and_read_on_over_another(form: Form, canned: Any) -> None:
    server = canned(HEAD + b'id: 1-1\ndata: {"type":"a"}\n\n', GONE, silent=True)
    assert form.events(server.url, {"silence_s": 0.2}, "s") == [Event("1-1", {"type": "a"})]
    assert server.fields("last-event-id") == [None, "1-1"]


def test_a_job_is_posted_under_one_key_until_it_is_accepted_and_read_to_its_end(form: Form, canned: Any) -> None:
    first = b'id: 1-1\ndata: {"type":"job.started","job_id":"j","input":"hi"}\n\n'
    rest = (
        b'id: 1-2\ndata: {"type":"text.delta","job_id":"j","text":"hello"}\n\n'
        b'id: 1-3\ndata: {"type":"job.completed","job_id":"j","result":7}\n\n'
    )
    server = canned(b"", response("503 Service Unavailable"), ACCEPTED, HEAD + first, HEAD + rest, silent=False)
    done = form.run(server.url, {})
    assert (done.text, done.result, done.session_id, done.job_id) == ("hello", 7, "s", "j")
    keys = server.fields("idempotency-key")
    assert keys[0] == keys[1] == keys[2] != keys[3] is None


def test_a_terminal_event_ends_a_stream_whose_connection_stays_open(form: Form, canned: Any) -> None:
    failed = (
        b'id: 1-1\ndata: {"type":"job.failed","job_id":"j","error":{"code":"c","message":"m","retryable":true}}\n\n'
    )
    with pytest.raises(JobFailed) as raised:
        form.run(canned(ACCEPTED, HEAD + failed, silent=False).url, {})
    assert (raised.value.code, raised.value.message, raised.value.retryable) == ("c", "m", True)
    server = canned(HEAD + failed, silent=True)
    assert len(form.events(server.url, {}, "s", "j")) == 1


def test_a_token_is_asked_for_once_and_again_when_it_is_refused(form: Form, canned: Any) -> None:
    made: list[str] = []

    def token() -> str:
        made.append(f"t{len(made)}")
        return made[-1]

    event = b'id: 1-1\ndata: {"type":"a"}\n\n'
    server = canned(HEAD + event, UNAUTHENTICATED, HEAD, GONE)
    assert len(form.events(server.url, {"token": token}, "s")) == 1
    assert server.fields("authorization") == ["Bearer t0", "Bearer t0", "Bearer t1", "Bearer t1"]
    assert server.fields("last-event-id") == [None, "1-1", "1-1", "1-1"]


def test_a_token_that_is_refused_twice_is_an_error(form: Form, canned: Any) -> None:
    server = canned(UNAUTHENTICATED, UNAUTHENTICATED)
    with pytest.raises(Refused, match="expired") as refused:
        form.session(server.url, {"token": lambda: "t"})
    assert refused.value.status == 401
    assert len(server.requests) == 2


def test_a_fixed_token_that_is_refused_is_an_error_at_once(form: Form, canned: Any) -> None:
    server = canned(UNAUTHENTICATED)
    with pytest.raises(Refused):
        form.events(server.url, {"token": "fixed"}, "s")
    assert server.fields("authorization") == ["Bearer fixed"]


def test_a_gateway_that_does_not_answer_is_unavailable_after_the_patience(form: Form, canned: Any) -> None:
    server = canned()
    server.close()
    for call in (form.session, form.run):
        with pytest.raises(Unavailable, match="does not answer"):
            call(server.url, {"patience_s": 0.05})
    with pytest.raises(Unavailable, match="does not answer"):
        form.events(server.url, {"patience_s": 0.05}, "s")


def test_a_body_whose_compression_was_cut_is_read_again(form: Form, canned: Any) -> None:
    broken = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n") + b"not gzip"
    server = canned(broken, HEAD + b'id: 1-1\ndata: {"type":"a"}\n\n', GONE)
    assert len(form.events(server.url, {}, "s")) == 1


def test_another_server_is_not_taken_for_a_gateway(form: Form, canned: Any) -> None:
    page = response("200 OK", b"<html>", "text/html")
    with pytest.raises(ProtocolError, match="gateway"):
        form.session(canned(page).url, {})
    with pytest.raises(ProtocolError, match="gateway"):
        form.events(canned(page).url, {}, "s")


def test_redirects_are_not_followed_so_that_no_token_leaves_for_another_host(form: Form, canned: Any) -> None:
    server = canned(response("302 Found").replace(b"\r\n", b"\r\nLocation: http://elsewhere.test/\r\n", 1))
    with pytest.raises(Refused) as refused:
        form.session(server.url, {"token": "t"})
    assert refused.value.status == 302


@pytest.mark.parametrize(
    "url", ["nonsense", "", "ftp://h", "http://300.1.1.1", "http://127.0.0.1:99999", "http://[::1", "http://h:0"]
)
def test_an_address_at_which_there_can_be_no_gateway_is_refused_with_the_form_of_one(form: Form, url: str) -> None:
    with pytest.raises(ArgumentInvalid, match="allowed: http://host:port or https://host:port"):
        form.session(url, {})
