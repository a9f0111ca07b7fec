"""A stream over many connections: where each begins, when there is another, and which events come out."""

from __future__ import annotations

import math
from typing import Any

import pytest
from holdfast.client import Event, ProtocolError, Refused, StreamOptions, Unavailable
from holdfast.client.replies import NoReply, Reply
from holdfast.client.subscription import Subscription

LOST = NoReply("gone", sent=True)
SSE = {"content-type": "text/event-stream; charset=utf-8"}


def subscription(cursor: str | None = None, *, of_job: bool = False, **more: Any) -> Subscription:
    options: StreamOptions = more.pop("options", {})
    return Subscription(cursor, of_job=of_job, patience_s=more.pop("patience_s", 60), options=options)


def frame(event_id: str, kind: str = "text.delta") -> bytes:
    return f'id: {event_id}\ndata: {{"type":"{kind}"}}\n\n'.encode()


def received(stream: Subscription, *chunks: bytes) -> list[str | None]:
    """The ids of the events of one connection."""
    assert stream.opened(200, SSE)
    return [event.id for chunk in chunks for event in stream.feed(chunk)]


def test_the_first_connection_has_no_cursor_and_the_next_that_of_the_last_whole_event() -> None:
    stream = subscription()
    assert "Last-Event-ID" not in stream.headers()
    assert received(stream, frame("1-1") + frame("1-2"), frame("1-3")[:-1]) == ["1-1", "1-2"]
    assert stream.closed(LOST)
    assert stream.headers()["Last-Event-ID"] == "1-2"
    assert received(stream, frame("1-3")) == ["1-3"]


def test_the_cursor_moves_with_each_event_that_is_taken_and_not_before() -> None:
    stream = subscription("1-1")
    stream.opened(200, SSE)
    events = stream.feed(frame("1-2") + frame("1-3"))
    assert [(next(events).id, stream.cursor), (next(events).id, stream.cursor)] == [("1-2", "1-2"), ("1-3", "1-3")]


def test_events_of_the_gateway_have_no_id_and_move_no_cursor() -> None:
    stream = subscription()
    stream.opened(200, SSE)
    assert list(stream.feed(frame("1-1") + b'data: {"type":"job.queued"}\n\n'))[1] == Event(
        None, {"type": "job.queued"}
    )
    assert stream.cursor == "1-1"


def test_an_id_without_data_and_a_gap_move_the_cursor() -> None:
    stream = subscription()
    assert received(stream, b"id: 7-7\n\n") == []
    assert stream.cursor == "7-7"
    assert received(stream, b'id: 6-1\ndata: {"type":"gap","reason":"lost"}\n\n') == ["6-1"]
    assert stream.cursor == "6-1"


@pytest.mark.parametrize("kind", ["job.completed", "job.failed", "job.cancelled"])
def test_the_stream_of_a_job_is_over_with_its_terminal_event_and_that_of_a_session_is_not(kind: str) -> None:
    job, session = subscription(of_job=True), subscription()
    after = frame("1-1", kind) + frame("1-2")
    assert received(job, after) == ["1-1"]
    assert received(session, after) == ["1-1", "1-2"]
    assert job.closed(LOST) is None
    assert session.closed(LOST) is not None


def test_every_stream_is_over_with_its_session_and_at_204() -> None:
    deleted, ended = subscription(), subscription("1-1")
    received(deleted, frame("1-1", "session.deleted"))
    assert not ended.opened(204, {})
    assert (deleted.closed(None), ended.closed(Reply(204, {}, b""))) == (None, None)


@pytest.mark.parametrize("outcome", [None, LOST, Reply(503, {}, b""), Reply(429, {}, b""), Reply(502, {}, b"")])
def test_a_stream_that_ends_in_any_other_way_is_requested_again(outcome: Reply | NoReply | None) -> None:
    stream = subscription()
    received(stream, frame("1-1"))
    assert 1 <= (stream.closed(outcome) or 0) <= 1.5


def test_the_reconnection_time_of_the_server_is_obeyed() -> None:
    stream = subscription()
    received(stream, b"retry: 8000\n\n", frame("1-1"))
    assert 8 <= (stream.closed(None) or 0) <= 12


def test_delays_grow_while_nothing_comes_and_are_short_after_an_event_or_a_ping() -> None:
    stream = subscription(patience_s=math.inf)
    for _ in range(3):
        received(stream, b"retry: 1000\n\n")
        stream.closed(None)
    assert (stream.closed(None) or 0) >= 8
    for alive in (frame("1-1"), b": ping\n\n"):
        received(stream, alive)
        assert (stream.closed(None) or 0) <= 1.5
        stream.closed(LOST)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 406, 500])
def test_a_refusal_for_good_is_raised(status: int) -> None:
    stream = subscription()
    assert not stream.opened(status, {})
    with pytest.raises(Refused):
        stream.closed(Reply(status, {}, b'{"code":"c","detail":"d"}'))


def test_another_media_type_is_no_gateway() -> None:
    with pytest.raises(ProtocolError, match="event stream"):
        subscription().opened(200, {"content-type": "text/html"})


@pytest.mark.parametrize("outcome", [None, LOST])
def test_an_outage_ends_the_stream_when_patience_is_over(outcome: NoReply | None) -> None:
    stream = subscription(patience_s=0)
    stream.opened(200, SSE)
    with pytest.raises(Unavailable):
        stream.closed(outcome)


def test_an_outage_of_a_stream_that_was_answered_may_last_as_long_as_its_own_patience() -> None:
    with pytest.raises(Unavailable):
        subscription(patience_s=0, options={"patience_s": math.inf}).closed(LOST)
    answered = subscription(patience_s=0, options={"patience_s": math.inf})
    received(answered)
    assert answered.closed(LOST)


def test_each_outage_of_an_answered_stream_is_reported_once_and_a_drain_is_none() -> None:
    reasons: list[str] = []
    stream = subscription(options={"on_outage": reasons.append})
    stream.closed(LOST)
    assert reasons == []
    received(stream, frame("1-1"))
    stream.closed(None)
    assert reasons == []
    for _ in range(3):
        stream.closed(LOST)
    assert reasons == ["gone"]
    received(stream, frame("1-2"))
    stream.closed(Reply(503, {}, b'{"code":"c","detail":"d"}'))
    assert reasons == ["gone", "d (c)"]


def test_data_that_is_no_object_is_a_protocol_error() -> None:
    with pytest.raises(ProtocolError, match="not a JSON object"):
        received(subscription(), b"data: [1]\n\n")
