"""Compressed answers on a real port: what ends is compressed, streams that stay open are if the operator says so."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable

import orjson
import pytest
import zstandard
from holdfast.shared.ids import EventId

from tests.support.log import Session, completed
from tests.support.served import RawAnswer, Served, raw_request, served
from tests.support.sse import SseParser, SseStream

Decode = Callable[[bytes], bytes]
DECODERS: dict[str, Callable[[], Decode]] = {
    "gzip": lambda: zlib.decompressobj(31).decompress,
    "zstd": lambda: zstandard.ZstdDecompressor().decompressobj().decompress,
}
CODINGS = list(DECODERS)


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        yield gateway


async def get(gateway: Served, path: str, *headers: str) -> RawAnswer:
    lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Connection: close", *headers, "", ""]
    return await raw_request(gateway.port, "\r\n".join(lines).encode())


async def read(gateway: Served, path: str, coding: str, accept: str = "text/event-stream") -> SseStream:
    """A stream that has ended."""
    headers = {"Accept-Encoding": coding, "Accept": accept}
    stream = SseStream(gateway.url + path, headers=headers)
    async with stream:
        async for _ in stream.chunks():
            pass
    return stream


def unchunked(body: bytes) -> bytes:
    """A body in one chunk, without its framing."""
    size, _, rest = body.partition(b"\r\n")
    assert rest[int(size, 16) :] == b"\r\n0\r\n\r\n"
    return rest[: int(size, 16)]


async def finished(session: Session, count: int = 300) -> None:
    attempt = await session.started()
    for number in range(1, count + 1):
        await session.append(attempt, number, f"w{number} ")
    text = orjson.dumps({"role": "assistant", "content": "tea " * 1000})
    await session.log_writer.finish("s", attempt.epoch, count + 1, completed("j1"), messages=[text], usage=b"")


@pytest.mark.parametrize("accept", ["text/event-stream", "application/x-ndjson"])
@pytest.mark.parametrize("coding", CODINGS)
async def test_the_stream_of_a_finished_job_is_compressed_and_the_same(
    gateway: Served, session: Session, coding: str, accept: str
) -> None:
    await finished(session)
    path = "/v1/sessions/s/jobs/j1/events?raw=true"
    plain, encoded = await read(gateway, path, "identity", accept), await read(gateway, path, coding, accept)
    assert encoded.headers["content-encoding"] == coding
    assert "content-encoding" not in plain.headers
    assert DECODERS[coding]()(bytes(encoded.body)) == plain.body
    assert len(encoded.body) < len(plain.body) / 4
    for stream in (plain, encoded):
        assert stream.headers["vary"] == "accept-encoding"
        assert (stream.headers["cache-control"], stream.headers["x-accel-buffering"]) == (
            "no-cache, no-transform",
            "no",
        )


@pytest.mark.parametrize("path", ["/v1/sessions/s/events", "/v1/sessions/s/jobs/j1/events"])
async def test_a_stream_that_stays_open_is_not_compressed(gateway: Served, session: Session, path: str) -> None:
    await session.started()
    async with SseStream(gateway.url + path, headers={"Accept-Encoding": "zstd, gzip"}) as stream:
        assert "content-encoding" not in stream.headers
        assert (await anext(aiter(stream))).json["type"] == "job.started"


@pytest.mark.parametrize("coding", CODINGS)
async def test_each_event_of_a_compressed_live_stream_arrives_before_the_next_one_is_written(
    redis_url: str, session: Session, coding: str
) -> None:
    attempt = await session.started()
    async with (
        served(redis_url, compress="all") as gateway,
        SseStream(f"{gateway.url}/v1/sessions/s/events", headers={"Accept-Encoding": coding}) as stream,
    ):
        assert stream.headers["content-encoding"] == coding
        decode, parser, chunks = DECODERS[coding](), SseParser(), aiter(stream.chunks())
        seen: list[str] = []

        async def until_seen(event_id: str) -> None:
            while event_id not in seen:
                seen.extend(frame.id for frame in parser.feed(decode(await anext(chunks))))

        for number in range(1, 20):
            await session.append(attempt, number, "x")
            await asyncio.wait_for(until_seen(str(EventId(attempt.epoch, number + 1))), 20)


async def test_nothing_is_compressed_where_that_is_switched_off(redis_url: str, session: Session) -> None:
    await finished(session, 5)
    async with served(redis_url, compress="off") as gateway:
        assert "content-encoding" not in (await read(gateway, "/v1/sessions/s/jobs/j1/events", "gzip")).headers
        answer = await get(gateway, "/openapi.json", "Accept-Encoding: gzip")
        assert "content-encoding" not in answer.headers
        assert "accept-encoding" not in answer.headers.get("vary", "").lower()


async def test_answers_are_compressed_as_the_client_prefers(gateway: Served, session: Session) -> None:
    await finished(session)
    for path in ("/openapi.json", "/", "/metrics", "/v1/sessions/s/messages"):
        plain = await get(gateway, path)
        assert "content-encoding" not in plain.headers
        assert plain.headers["vary"] == "Accept-Encoding"
        for field, coding in (("gzip, zstd", "zstd"), ("gzip, zstd;q=0.5", "gzip")):
            answer = await get(gateway, path, f"Accept-Encoding: {field}")
            assert (answer.status, answer.headers["content-encoding"]) == (200, coding)
            assert answer.headers["vary"] == "Accept-Encoding"


async def test_a_compressed_answer_says_what_the_plain_one_does(gateway: Served) -> None:
    for coding in CODINGS:
        answer = await get(gateway, "/web/page.js", f"Accept-Encoding: {coding}")
        assert answer.headers["content-encoding"] == coding
        plain = await get(gateway, "/web/page.js")
        assert DECODERS[coding]()(unchunked(answer.body)) == plain.body


async def test_a_small_answer_goes_as_it_is(gateway: Served) -> None:
    answer = await get(gateway, "/livez", "Accept-Encoding: gzip")
    assert "content-encoding" not in answer.headers
    assert orjson.loads(answer.body) == {"status": "alive"}


async def test_a_page_that_was_sent_compressed_is_not_sent_again(gateway: Served) -> None:
    first = await get(gateway, "/", "Accept-Encoding: gzip")
    assert first.headers["etag"].startswith('W/"')
    again = await get(gateway, "/", "Accept-Encoding: gzip", f"If-None-Match: {first.headers['etag']}")
    assert (again.status, again.body, again.headers["vary"]) == (304, b"", "Accept-Encoding")


async def test_a_head_has_no_body_and_no_coding(gateway: Served) -> None:
    request = b"HEAD / HTTP/1.1\r\nHost: localhost\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n"
    answer = await raw_request(gateway.port, request)
    assert (answer.status, answer.body, "content-encoding" in answer.headers) == (200, b"", False)


async def test_a_client_that_comes_back_after_the_end_gets_204(gateway: Served, session: Session) -> None:
    await finished(session, 2)
    path = "/v1/sessions/s/jobs/j1/events"
    stream = await read(gateway, path, "zstd")
    parser = SseParser()
    parser.feed(DECODERS["zstd"]()(bytes(stream.body)))
    answer = await get(gateway, path, "Accept-Encoding: zstd", f"Last-Event-ID: {parser.last_event_id}")
    assert (answer.status, answer.body, "content-encoding" in answer.headers) == (204, b"", False)
