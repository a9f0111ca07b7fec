"""F41: line breaks and control characters in what a client sends never reach a header field of a response."""

from __future__ import annotations

from collections.abc import AsyncIterator
from urllib.parse import quote

import pytest

from tests.support.access import Caller, guarded, key_of
from tests.support.served import RawAnswer, Served, raw_request, served

INJECTED = [
    b"x\r\nInjected: 1",
    b"x\nInjected: 1",
    b"x\rInjected: 1",
    b"x\r\n\r\nHTTP/1.1 200 OK\r\nInjected: 1",
    b"x\x00",
]
BYTES = [*INJECTED, b"\x01", b"\x0b", b"\x7f", b"\x85", b"\xe2\x80\xa8", b"\xff", "ä".encode("latin-1")]
FIELDS = [b"Host", b"Origin", b"Holdfast-Subject", b"X-Request-Id", b"Cookie", b"Authorization", b"Last-Event-ID"]
FIELDS += [b"Idempotency-Key", b"Access-Control-Request-Headers", b"X-Forwarded-For", b"Accept", b"Accept-Encoding"]
OWN = {
    *("access-control-allow-credentials", "access-control-allow-headers", "access-control-allow-methods", "allow"),
    *("access-control-allow-origin", "access-control-expose-headers", "access-control-max-age", "cache-control"),
    *("connection", "content-encoding", "content-length", "content-type", "date", "location", "referrer-policy"),
    *("retry-after", "set-cookie", "transfer-encoding", "vary", "www-authenticate", "x-accel-buffering"),
    *("x-content-type-options", "x-request-id"),
}
ORIGIN = "https://app.example"


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url, cors_origins=ORIGIN) as gateway:
        await gateway.offer("scripted")
        yield gateway


@pytest.fixture
async def owner(redis_url: str) -> AsyncIterator[Caller]:
    async with guarded(redis_url, cors_origins=ORIGIN) as gateway:
        yield await key_of(gateway, "acme")


def check_own(answer: RawAnswer) -> None:
    """Check that a response has only fields of the gateway, without a byte that ends one."""
    assert set(answer.headers) <= OWN
    for value in answer.headers.values():
        assert value.isprintable()
    assert b"HTTP/1.1" not in answer.body


async def get(port: int, path: bytes, *lines: bytes) -> RawAnswer:
    fields = b"\r\n".join([b"GET %b HTTP/1.1" % path, b"Connection: close", *lines, b"", b""])
    return await raw_request(port, fields)


@pytest.mark.parametrize("name", FIELDS)
async def test_f41_a_field_with_line_breaks_or_control_characters_splits_no_response(
    gateway: Served, name: bytes
) -> None:
    host = [] if name == b"Host" else [b"Host: localhost"]
    for value in BYTES:
        check_own(await get(gateway.port, b"/v1/sessions/none", *host, b"%b: %b" % (name, value)))
        preflight = b"OPTIONS /v1/jobs HTTP/1.1\r\nConnection: close\r\nAccess-Control-Request-Method: POST\r\n"
        origin = b"" if name == b"Origin" else b"Origin: %b\r\n" % ORIGIN.encode()
        lines = b"".join(b"%b\r\n" % line for line in [*host, b"%b: %b" % (name, value)])
        check_own(await raw_request(gateway.port, preflight + origin + lines + b"\r\n"))


@pytest.mark.parametrize(
    "path", ["/v1/sessions/{}/jobs", "/v1/sessions/{}/events", "/v1/sessions/s/jobs/{}/events", "/{}"]
)
async def test_f41_an_id_in_the_path_splits_no_response(gateway: Served, path: str) -> None:
    for value in BYTES:
        answer = await get(gateway.port, path.format(quote(value, safe="")).encode(), b"Host: localhost")
        assert answer.status in (400, 404, 422)
        check_own(answer)


async def test_f41_the_address_of_a_job_has_no_byte_of_an_invalid_session_id(gateway: Served) -> None:
    body = b'{"agent":"scripted","input":"tea"}'
    fields = b"Host: localhost\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: %d" % len(body)
    for value in BYTES:
        path = b"/v1/sessions/%b/jobs" % quote(value, safe="").encode()
        answer = await raw_request(gateway.port, b"POST %b HTTP/1.1\r\n%b\r\n\r\n%b" % (path, fields, body))
        assert answer.status in (404, 422)  # with a slash in it, it is another path
        check_own(answer)


async def test_f41_a_subject_with_control_characters_is_refused(owner: Caller) -> None:
    credentials = [b"Host: localhost", b"Authorization: Bearer %b" % owner.token.encode()]
    for value in BYTES:
        if b"\n" not in value:  # behind which another field begins, as the client can send anyway
            answer = await get(owner.gateway.port, b"/v1/sign-in", *credentials, b"Holdfast-Subject: " + value)
            assert answer.status in (400, 422)
            check_own(answer)
