"""The layer that compresses answers, before apps that the tests make up."""

from __future__ import annotations

import asyncio
import zlib
from typing import Any

import pytest
from holdfast.gateway.layers.compression import MIN_BYTES, PIECE_BYTES, Compression
from starlette.responses import Response, StreamingResponse
from starlette.types import ASGIApp, Message


async def call(app: ASGIApp, accept_encoding: str = "gzip", method: str = "GET") -> list[Message]:
    """The messages that leave the layer."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    headers = [(b"accept-encoding", accept_encoding.encode())]
    scope = {"type": "http", "asgi": {"spec_version": "2.4"}, "method": method, "path": "/", "headers": headers}
    await Compression(app)(scope, receive, send)
    return sent


def fields(sent: list[Message]) -> dict[bytes, bytes]:
    return dict(sent[0]["headers"])


def body(sent: list[Message]) -> bytes:
    return b"".join(message["body"] for message in sent[1:])


async def test_other_tasks_run_between_the_pieces_of_a_large_body() -> None:
    """Counted in turns of the event loop, so that a busy machine does not matter."""
    plain = bytes(range(256)) * (40 * PIECE_BYTES // 256)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    sent = await call(Response(plain, media_type="application/json"))
    counting.cancel()
    assert turns >= 39
    assert max(len(message["body"]) for message in sent[1:]) <= PIECE_BYTES
    assert zlib.decompress(body(sent), 31) == plain


@pytest.mark.parametrize("size", [MIN_BYTES, PIECE_BYTES, PIECE_BYTES + 1, 3 * PIECE_BYTES])
async def test_a_body_of_any_size_is_whole(size: int) -> None:
    sent = await call(Response(b"x" * size, media_type="application/json"))
    assert zlib.decompress(body(sent), 31) == b"x" * size
    assert [message.get("more_body") for message in sent[1:]][-1] is False
    assert fields(sent)[b"content-encoding"] == b"gzip"
    assert b"content-length" not in fields(sent)


async def test_a_body_in_pieces_is_not_held_back() -> None:
    decoder = zlib.decompressobj(31)
    pieces = [b"a", b"b" * MIN_BYTES, b"c"]

    async def produce() -> Any:
        for piece in pieces:
            yield piece

    sent = await call(StreamingResponse(produce(), media_type="application/x-ndjson"))
    assert [decoder.decompress(message["body"]) for message in sent[1:]] == [*pieces, b""]


async def test_a_small_body_goes_as_it_is_unless_the_client_rules_that_out() -> None:
    small = Response(b"x" * (MIN_BYTES - 1), media_type="application/json")
    sent = await call(small)
    assert b"content-encoding" not in fields(sent)
    assert (fields(sent)[b"vary"], fields(sent)[b"content-length"]) == (b"Accept-Encoding", b"%d" % (MIN_BYTES - 1))
    sent = await call(small, "gzip, identity;q=0")
    assert fields(sent)[b"content-encoding"] == b"gzip"
    assert zlib.decompress(body(sent), 31) == small.body


LARGE = b"x" * 10 * MIN_BYTES


@pytest.mark.parametrize(
    ("response", "method"),
    [
        pytest.param(Response(LARGE, media_type="application/json"), "POST", id="a POST"),
        pytest.param(Response(LARGE, 404, media_type="application/json"), "GET", id="a refusal"),
        pytest.param(Response(LARGE, media_type="application/zip"), "GET", id="a type that is compressed already"),
        pytest.param(Response(LARGE, 200, {"Content-Encoding": "br"}, "application/json"), "GET", id="another coding"),
        pytest.param(Response(status_code=204), "GET", id="no content"),
        pytest.param(Response(status_code=304, headers={"ETag": '"x"'}), "GET", id="not modified"),
        pytest.param(Response(LARGE, media_type="application/json"), "HEAD", id="a HEAD"),
    ],
)
async def test_nothing_else_is_touched(response: Response, method: str) -> None:
    sent = await call(response, method=method)
    assert body(sent) == response.body
    assert fields(sent).get(b"content-encoding") != b"gzip"


async def test_a_tag_of_the_plain_bytes_becomes_a_weak_one() -> None:
    sent = await call(Response(LARGE, headers={"ETag": '"x"'}, media_type="text/css"))
    assert fields(sent)[b"etag"] == b'W/"x"'
    sent = await call(Response(LARGE, headers={"ETag": '"x"'}, media_type="text/css"), "identity")
    assert fields(sent)[b"etag"] == b'"x"'


async def test_an_app_that_fails_before_its_body_has_sent_nothing() -> None:
    async def failing(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"application/json")]})
        raise RuntimeError

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "GET", "headers": [(b"accept-encoding", b"gzip")]}
    with pytest.raises(RuntimeError):
        await Compression(failing)(scope, None, send)  # type: ignore[arg-type]
    assert sent == []
