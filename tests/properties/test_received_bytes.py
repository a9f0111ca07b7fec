"""Any bytes, in any pieces: parsers of what a peer sends end with their own error, and buffer no more than they may."""

from __future__ import annotations

import base64
import gc
import json
import random
from collections.abc import Iterator

from holdfast.client import ProtocolError
from holdfast.client.sse import SseParser
from holdfast.gateway.transports.websocket_frames import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, close_frame
from holdfast.gateway.transports.websocket_reader import ProtocolViolation, WebSocketReader, close_code
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.javascript import Program
from tests.support.process import ROOT
from tests.support.sse import SseParser as Reference
from tests.support.websocket_frames import client_frame

BOUNDED = settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
MAX_BYTES = 1000
LARGEST_CONTROL_FRAME = 6 + 125
FRAMES = st.builds(
    client_frame,
    st.sampled_from([TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG, 3, 11]),
    st.binary(max_size=300) | st.text(max_size=80).map(str.encode),
)
STREAMS = st.lists(FRAMES | FRAMES | st.binary(max_size=20), max_size=12).map(b"".join)
LINES = ["data: {}", "data:{", "data: }", "data", ": x", "id: 1-1", "id: a\0b", "retry: 0", "event: x", "é", "x: y", ""]
PROGRAM = """
const { readEvents } = await import(given.events);
const fromBase64 = (text) => Uint8Array.from(atob(text), (one) => one.charCodeAt(0));
const headers = new Headers({ "Content-Type": "text/event-stream" });
for (const pieces of given.streams) {
    let left = 1;
    const fetched = () => {
        if (!left--) return { status: 204, headers };
        const body = new ReadableStream({
            start(controller) {
                for (const piece of pieces) controller.enqueue(fromBase64(piece));
                controller.close();
            },
        });
        return { status: 200, headers, body };
    };
    const events = [];
    try {
        for await (const event of readEvents({ fetch: async () => fetched() }, "/events")) events.push(event);
    } catch (error) {
        events.push(error.name);
    }
    say(events);
}
"""


def pieces_of(data: bytes, sizes: list[int]) -> Iterator[bytes]:
    """Divide bytes into pieces of these sizes, over and over."""
    at = 0
    while at < len(data):
        for size in sizes:
            yield data[at : at + size]
            at += size


@BOUNDED
@given(STREAMS, st.lists(st.integers(1, 400), min_size=1, max_size=5))
def test_frames_of_any_bytes_end_with_a_violation_at_most_and_in_bounded_memory(wire: bytes, sizes: list[int]) -> None:
    reader = WebSocketReader(MAX_BYTES)
    try:
        for piece in pieces_of(wire, sizes):
            reader.feed(piece)
            while (received := reader.next()) is not None:
                assert len(received.payload) <= MAX_BYTES
                if received.opcode == TEXT:
                    received.payload.decode()
                elif received.opcode == CLOSE:
                    close_code(received.payload)
            buffered = sum(len(one) for one in gc.get_referents(reader) if isinstance(one, bytearray))
            assert buffered <= MAX_BYTES + LARGEST_CONTROL_FRAME
    except ProtocolViolation as violation:
        if len(close_frame(violation.code, violation.reason)) > 127:  # it can be sent
            raise


@BOUNDED
@given(
    st.lists(st.sampled_from(LINES) | st.text(max_size=20), max_size=20),
    st.sampled_from(["\n", "\r", "\r\n"]),
    st.binary(max_size=10),
    st.lists(st.integers(1, 30), min_size=1, max_size=5),
)
def test_the_python_client_reads_any_stream_alike_however_it_is_divided(
    lines: list[str], end: str, garbage: bytes, sizes: list[int]
) -> None:
    stream = end.join([*lines, "", ""]).encode("utf-8", "replace") + garbage + b"\n\n"

    def read(*pieces: bytes) -> object:
        parser = SseParser()
        try:
            return [frame for piece in pieces for frame in parser.feed(piece)]
        except ProtocolError:
            return ProtocolError

    assert read(stream) == read(*pieces_of(stream, sizes))


def hostile_stream(choose: random.Random) -> bytes:
    """A stream whose frames are JSON objects, or cut off, between all that the standard allows."""
    out = choose.choice(["", "\ufeff"]) + "retry: 0\n\n"  # the client reconnects at once
    for number in range(choose.randint(0, 6)):
        end = choose.choice(["\n", "\r\n", "\r"])
        text = json.dumps(
            {"type": "x", "n": number, "text": choose.choice(["a", "é", "\u2028", "\U0001f600"])}, ensure_ascii=False
        )
        at = text.index(",")
        whole = choose.choice([f"data: {text}", f"data:{text}", f"data: {text[:at]}{end}data:{text[at:]}"])
        noise = choose.choice(["", ": comment", "unknown: field", "event: y", "id", "retry: soon", "datas: x"])
        out += (noise and noise + end) + whole + end + choose.choice([end, end, end + end, ""])
    out += ": end\n"  # the client holds back a CR at the end, which may be half of a CRLF
    return out.encode() + choose.choice([b"", b"data: cut", b"\xff\xfe", b"\0"])


async def test_the_javascript_client_reads_any_stream_as_the_standard_says() -> None:
    choose = random.Random(15)
    streams = [hostile_stream(choose) for _ in range(200)]
    divided = [list(pieces_of(one, [choose.randint(1, 9) for _ in range(3)])) for one in streams]
    encoded = [[base64.b64encode(piece).decode() for piece in pieces if piece] for pieces in divided]
    events = (ROOT / "clients" / "js" / "src" / "events.js").as_uri()
    async with Program(PROGRAM, streams=encoded, events=events) as program:
        for stream in streams:
            assert await program.read() == by_the_reference(stream), stream


def by_the_reference(stream: bytes) -> list[object]:
    """What a client makes of a stream: its events, up to one that is not JSON."""
    events: list[object] = []
    for frame in Reference().feed(stream):
        if frame.data:
            try:
                events.append(json.loads(frame.data))
            except json.JSONDecodeError:
                return [*events, "SyntaxError"]
    return events
