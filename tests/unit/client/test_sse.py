"""The client's parser of event streams: any bytes in any pieces."""

from __future__ import annotations

import random

import pytest
from holdfast.client import ProtocolError, sse
from holdfast.client.sse import Frame, SseParser

from tests.support.sse import SseParser as Reference

STREAM = (
    'retry: 1500\n\n: ping\n\nid: 1-1\ndata: {"type":"a"}\n\n'
    "id: 1-2\r\ndata: é\u2028𝄞\u0085\r\n\r\ndata: two\rdata:lines\r\rid: 1-3\n\n"
    "id: nul\0\ndata\n\nevent: x\nunknown: y\ndata:  z\n\nretry: soon\n\nid\ndata: unset\n\ndata: cut off"
).encode()


def parsed(*chunks: bytes) -> list[Frame]:
    parser = SseParser()
    return [frame for chunk in chunks for frame in parser.feed(chunk)]


WHOLE = [
    Frame("1-1", '{"type":"a"}'),
    Frame("1-2", "é\u2028𝄞\u0085"),
    Frame(None, "two\nlines"),
    Frame("1-3", None),
    Frame(None, ""),
    Frame(None, " z"),
    Frame("", "unset"),
]


def test_fields_lines_and_blocks_are_those_of_the_standard() -> None:
    assert parsed(STREAM) == WHOLE


@pytest.mark.parametrize("seed", range(50))
def test_where_a_stream_is_divided_makes_no_difference(seed: int) -> None:
    choose = random.Random(seed)
    cuts = sorted(choose.sample(range(1, len(STREAM)), choose.randint(1, len(STREAM) - 1)))
    chunks = [STREAM[begin:end] for begin, end in zip([0, *cuts], [*cuts, len(STREAM)], strict=True)]
    assert parsed(*chunks) == WHOLE


def test_a_stream_that_comes_byte_by_byte_is_the_same() -> None:
    assert parsed(*(STREAM[at : at + 1] for at in range(len(STREAM)))) == WHOLE


def test_data_is_that_of_the_tests_own_parser() -> None:
    assert [frame.data for frame in WHOLE if frame.data] == [f.data for f in Reference().feed(STREAM) if f.data]


def test_a_byte_order_mark_at_the_start_is_ignored_wherever_it_is_divided() -> None:
    stream = b"\xef\xbb\xbfdata: x\n\ndata: \xef\xbb\xbfy\n\n"
    whole = [Frame(None, "x"), Frame(None, "\ufeffy")]
    assert parsed(stream) == parsed(*(stream[at : at + 1] for at in range(len(stream)))) == whole


def test_pings_and_the_reconnection_time_are_noted() -> None:
    parser = SseParser()
    assert list(parser.feed(b"retry: 250\n\n: ping\n\n: ping\n\nretry: -1\n\n")) == []
    assert (parser.retry_ms, parser.comments) == (250, 2)


def test_an_event_above_the_limit_is_refused_and_pings_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 100)
    parser = SseParser()
    for _ in range(50):
        assert list(parser.feed(b": ping\n\ndata: " + b"x" * 50 + b"\n\n"))
    for _ in range(50):
        list(parser.feed(b": ping\n"))
    list(parser.feed(b"data: " + b"x" * 50))
    with pytest.raises(ProtocolError, match="larger than 100"):
        list(parser.feed(b"x" * 50))
