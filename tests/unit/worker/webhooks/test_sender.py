"""Requests of webhooks: to which address they go, and what of a response is read."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import h11
import pytest
from holdfast.shared.webhooks.addresses import parse_networks
from holdfast.shared.webhooks.target import Target
from holdfast.worker.webhooks import sender
from holdfast.worker.webhooks.sender import MAX_HEAD_BYTES, AddressRefused, NotSent, Sender

from tests.support.process import until
from tests.support.receiver import OK, receiver
from tests.support.tls import Authority, TlsEnd

LOOPBACK = parse_networks("127.0.0.0/8")


class Resolver:
    """Answers each look-up with the next of these lists of addresses."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self._answers = list(answers)

    async def __call__(self, host: str, port: int) -> list[tuple[socket.AddressFamily, Any]]:
        answer = self._answers.pop(0)
        return [(socket.AF_INET6 if ":" in one else socket.AF_INET, (one, port)) for one in answer]


def target(port: int, scheme: str = "http", host: str = "hook.example") -> Target:
    return Target(scheme, host, port, "/hook")


async def test_the_request_goes_to_the_address_that_was_checked_whatever_the_name_has_later() -> None:
    async with receiver() as hook:
        resolve = Resolver(["127.0.0.1"], ["169.254.169.254"])
        assert await Sender(LOOPBACK, resolve).post(target(hook.port), {}, b"{}") == 204
    assert hook.received[0].headers["host"] == f"hook.example:{hook.port}"
    assert len(resolve._answers) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize("answer", [["10.0.0.1"], ["127.0.0.1", "169.254.169.254"], ["127.0.0.1", "fe80::1%1"]])
async def test_a_name_with_any_address_that_is_not_allowed_is_refused(scheme: str, answer: list[str]) -> None:
    async with receiver() as hook:
        with pytest.raises(AddressRefused):
            await Sender(LOOPBACK, Resolver(answer)).post(target(hook.port, scheme), {}, b"{}")
    assert hook.received == []


async def test_a_loopback_address_is_refused_without_the_setting() -> None:
    async with receiver() as hook:
        with pytest.raises(AddressRefused):
            await Sender(()).post(target(hook.port, "https", "localhost"), {}, b"{}")
    assert hook.received == []


async def test_without_tls_a_public_address_is_refused() -> None:
    with pytest.raises(AddressRefused):
        await Sender(LOOPBACK, Resolver(["8.8.8.8"])).post(target(80), {}, b"{}")


async def test_a_name_that_is_not_resolved_is_no_request() -> None:
    with pytest.raises(NotSent, match="not resolved"):
        await Sender(LOOPBACK, Resolver([])).post(target(80), {}, b"{}")


@pytest.fixture
def name_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[NameServer]:
    """A name server that does not answer, with a short deadline."""
    monkeypatch.setattr(sender, "LOOKUP_SECONDS", 0.05)
    silent = NameServer()
    monkeypatch.setattr(socket, "getaddrinfo", silent)
    yield silent
    silent.answers.set()


class NameServer:
    """`asked`: the names that were looked up. `answers`: set where they get an answer."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answers = threading.Event()

    def __call__(self, host: str, port: int, **how: Any) -> list[Any]:
        self.asked.append(host)
        self.answers.wait()
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", ("127.0.0.1", port))]


async def test_a_look_up_without_an_answer_ends_at_its_deadline(name_server: NameServer) -> None:
    async with asyncio.timeout(30):
        with pytest.raises(NotSent, match="not resolved"):
            await Sender(LOOPBACK).post(target(80), {}, b"{}")


async def test_look_ups_that_nobody_answers_are_bounded(
    name_server: NameServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "MAX_LOOKUPS", 2)
    sending = Sender(LOOPBACK)
    for name in ("a.example", "b.example", "c.example"):
        with pytest.raises(NotSent, match="not resolved"):
            await sending.post(target(80, host=name), {}, b"{}")
    assert name_server.asked == ["a.example", "b.example"]

    name_server.answers.set()
    async with receiver() as hook:

        async def is_delivered() -> bool:
            with suppress(NotSent):
                return await sending.post(target(hook.port), {}, b"{}") == 204
            return False

        await until(is_delivered, 30)


async def test_a_certificate_that_is_not_trusted_is_refused(tmp_path: Path) -> None:
    context = Authority(tmp_path).server_context("hook.example")
    async with receiver() as hook, TlsEnd(hook.port).serving(context) as end:
        with pytest.raises(NotSent, match="TLS failed"):
            await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(end.port, "https"), {}, b"{}")
    assert hook.received == []


async def test_a_receiver_without_tls_gets_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "DEADLINE_SECONDS", 0.2)  # the receiver waits for the end of a request
    async with receiver() as hook:
        with pytest.raises(NotSent):
            await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port, "https"), {}, b"{}")
    assert hook.received == []


async def test_the_next_address_is_tried_where_one_refuses_the_connection() -> None:
    async with receiver() as hook:
        resolve = Resolver(["127.0.0.9", "127.0.0.1"])
        assert await Sender(LOOPBACK, resolve).post(target(hook.port), {}, b"{}") == 204


@pytest.mark.parametrize(
    "response", [b"HTTP/1.1 200 OK\r\n" + b"a: " + b"a" * (2 * MAX_HEAD_BYTES) + b"\r\n\r\n", b"", b"no HTTP\r\n\r\n"]
)
async def test_a_response_that_is_too_large_or_no_response_fails(response: bytes) -> None:
    async with receiver(lambda _: response) as hook:
        with pytest.raises(NotSent):
            await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}")


async def test_an_endless_body_of_a_response_is_not_read() -> None:
    async with receiver(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 999999999\r\n\r\nabc") as hook:
        assert await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}") == 200


@asynccontextmanager
async def endless(piece: bytes, first: bytes = b"", pause_s: float = 0) -> AsyncIterator[Endless]:
    """A receiver whose response never ends: `first`, then the piece again and again, until the sender closes."""
    made = Endless()

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(first)
            while True:
                writer.write(piece)
                await writer.drain()
                await asyncio.sleep(pause_s)
        made.closed.set()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        made.port = server.sockets[0].getsockname()[1]
        yield made
        await asyncio.wait_for(made.closed.wait(), 10)


class Endless:
    """`closed`: the sender has closed the connection."""

    def __init__(self) -> None:
        self.port = 0
        self.closed = asyncio.Event()


CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
OPEN_HEAD = b"HTTP/1.1 200 OK\r\na: "
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "piece",
    [CONTINUE, CONTINUE * 1000, b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 10_000 + b"\r\n\r\n"],
    ids=["one at a time", "many at once", "large ones"],
)
async def test_endless_informational_responses_end_after_a_few(piece: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = count_events(monkeypatch)
    async with endless(piece) as hook:
        with pytest.raises(NotSent, match="too large"):
            await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}")
    assert seen["InformationalResponse"] == sender.MAX_INFORMATIONAL + 1


async def test_endless_informational_responses_within_tls_end_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    context, seen = authority.server_context("hook.example"), count_events(monkeypatch)
    async with endless(CONTINUE) as hook, TlsEnd(hook.port).serving(context) as end:
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
        with pytest.raises(NotSent, match="too large"):
            await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(end.port, "https"), {}, b"{}")
    assert seen["InformationalResponse"] == sender.MAX_INFORMATIONAL + 1


def count_events(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what h11 parses from here on, by the name of its class."""
    seen, next_event = Counter[str](), h11.Connection.next_event

    def counted(http: h11.Connection) -> Any:
        event = next_event(http)
        seen[type(event).__name__] += 1
        return event

    monkeypatch.setattr(h11.Connection, "next_event", counted)
    return seen


async def test_a_few_informational_responses_before_the_final_one_are_passed_over() -> None:
    response = CONTINUE * sender.MAX_INFORMATIONAL + OK
    async with receiver(lambda _: response) as hook:
        assert await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}") == 204


@pytest.mark.parametrize("piece", [b"1", b"a" * 65_536], ids=["one byte", "64 KiB"])
async def test_an_endless_head_ends(piece: bytes) -> None:
    async with endless(piece, OPEN_HEAD) as hook:
        with pytest.raises(NotSent):
            await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}")


async def test_a_head_that_comes_a_byte_at_a_time_ends_at_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "DEADLINE_SECONDS", 0.2)
    async with endless(b"a", OPEN_HEAD, pause_s=0.05) as hook:
        with pytest.raises(NotSent, match="in time"):
            await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}")


@pytest.mark.parametrize("first", [CHUNKED, CHUNKED + b"0\r\n"], ids=["body", "trailers"])
async def test_the_connection_is_closed_before_an_endless_body_or_endless_trailers(first: bytes) -> None:
    async with endless(b"a: a\r\n", first) as hook:
        assert await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}") == 200


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with receiver(lambda _: OK) as hook:
        assert await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}") == 204
