"""Requests of webhooks: to which address they go, and what of a response is read."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from holdfast.shared.webhooks.addresses import parse_networks
from holdfast.shared.webhooks.target import Target
from holdfast.worker.webhooks import sender
from holdfast.worker.webhooks.sender import MAX_HEAD_BYTES, AddressRefused, NotSent, Sender

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


async def test_a_proxy_of_the_environment_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with receiver(lambda _: OK) as hook:
        assert await Sender(LOOPBACK, Resolver(["127.0.0.1"])).post(target(hook.port), {}, b"{}") == 204
