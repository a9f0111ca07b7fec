"""The tests' own SSE parser: what it says about the wire must be right."""

from __future__ import annotations

from tests.support.sse import Frame, SseParser


def test_lines_end_at_cr_lf_and_crlf_only() -> None:
    text = "a\u2028b\u0085c\x0bd\x0ce"
    parser = SseParser()
    assert parser.feed(f"id: 1\rdata: {text}\r\ndata: f\n\n".encode()) == [Frame("1", f"{text}\nf")]


def test_a_frame_cut_anywhere_is_read_the_same() -> None:
    wire = ": hi\n\nretry: 5\n\nid: 3-1\r\ndata: ä\r\n\r\ndata: x\n\n".encode()
    for cut in range(len(wire)):
        parser = SseParser()
        frames = parser.feed(wire[:cut]) + parser.feed(wire[cut:])
        assert frames == [Frame("3-1", "ä"), Frame("3-1", "x")]
        assert parser.comments == ["hi"]
        assert parser.retry_ms == 5


def test_an_id_without_data_moves_the_last_event_id_and_fires_nothing() -> None:
    parser = SseParser()
    assert parser.feed(b"id: 9-9\n\n") == []
    assert parser.last_event_id == "9-9"


def test_an_event_that_the_end_cuts_off_is_not_dispatched() -> None:
    assert SseParser().feed(b"data: half\n") == []
