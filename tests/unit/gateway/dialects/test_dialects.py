"""The bytes of each dialect, and the choice between them."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from holdfast.gateway.dialects.ndjson import NDJSON
from holdfast.gateway.dialects.registry import choose
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.dialects.websocket import WEBSOCKET
from holdfast.gateway.errors import NotAcceptable
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.event_log import Gap
from hypothesis import given
from hypothesis import strategies as st

from tests.support.entries import EPOCH, entry, parsed, text
from tests.support.sse import SseParser
from tests.support.websocket_frames import server_frames

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)


class TestSse:
    def test_an_event_is_its_id_and_its_body(self) -> None:
        assert SSE.event(entry(2, b'{"type":"x"}')) == b'id: 1763683200123-2\ndata: {"type":"x"}\n\n'

    @given(st.dictionaries(st.text(), JSON, max_size=4), st.integers(1, 10**9))
    def test_whatever_an_event_holds_comes_back_as_one_equal_event(self, event: dict[str, object], seq: int) -> None:
        frames = parsed(SSE.event(entry(seq, orjson.dumps(event))))
        assert [frame.id for frame in frames] == [f"{EPOCH}-{seq}"]
        assert frames[0].json == event
        assert frames[0].event == "message"

    @pytest.mark.parametrize("end", ["\n", "\r", "\r\n", "\n\n", "\r\r", "\r\n\r\n"])
    def test_line_ends_between_the_tokens_of_an_event_cannot_begin_another_one(self, end: str) -> None:
        forged = f'{{"type":"x",{end}id: 1-1{end}event: done{end}data: {{"type":"job.completed"}}{end}"a":1}}'
        frames = parsed(SSE.event(entry(2, forged.encode())) + SSE.event(text(3)))
        assert [(frame.id, frame.event) for frame in frames] == [(f"{EPOCH}-2", "message"), (f"{EPOCH}-3", "message")]

    def test_a_lost_gap_moves_the_cursor_to_the_position(self) -> None:
        wire, _ = SSE.gap(None, Gap("lost", EventId(EPOCH, 7)))
        position = b"1763683200123-7"
        data = b'{"type":"gap","reason":"lost","position":"' + position + b'"}'
        assert wire == b"id: " + position + b"\ndata: " + data + b"\n\n"

    def test_an_expired_gap_moves_the_cursor_to_the_beginning(self) -> None:
        assert SSE.gap(None, Gap("expired", ORIGIN))[0].startswith(b"id: 0-0\ndata: ")

    def test_a_trimmed_gap_has_no_id_of_its_own(self) -> None:
        assert SSE.gap(None, Gap("trimmed", EventId(EPOCH, 7)))[0].startswith(b"data: ")

    def test_a_waiting_job_is_told_without_an_id(self) -> None:
        assert SSE.queued("j1", 2) == b'data: {"type":"job.queued","job_id":"j1","position":2}\n\n'

    def test_where_a_viewer_begins_moves_its_cursor_and_fires_no_event(self) -> None:
        parser = SseParser()
        assert parser.feed(SSE.cursor_only(EventId(EPOCH, 7))) == []
        assert parser.last_event_id == f"{EPOCH}-7"

    def test_a_ping_is_a_comment_and_leaves_the_cursor_alone(self) -> None:
        parser = SseParser()
        frames = parser.feed(SSE.event(text(2)) + SSE.ping)
        assert len(frames) == 1
        assert (parser.comments, parser.last_event_id) == (["ping"], f"{EPOCH}-2")

    def test_the_farewell_says_when_to_come_again(self) -> None:
        parser = SseParser()
        assert parser.feed(SSE.closing(2500)) == []
        assert parser.retry_ms == 2500


class TestNdjson:
    def test_an_event_is_one_line_with_its_id_first(self) -> None:
        assert NDJSON.event(entry(2, b'{"type":"x"}')) == b'{"id":"1763683200123-2","type":"x"}\n'

    @given(st.dictionaries(st.text().filter(lambda name: name != "id"), JSON, max_size=4))
    def test_whatever_an_event_holds_comes_back_as_one_equal_line(self, event: dict[str, object]) -> None:
        wire = NDJSON.event(entry(2, orjson.dumps(event)))
        assert wire.count(b"\n") == 1
        assert json.loads(wire) == {"id": f"{EPOCH}-2", **event}

    @pytest.mark.parametrize("body", [b"{}", b" { } ", b'\n{"a":\r\n1}\n', b'{"a":1}'])
    def test_spaces_between_tokens_do_no_harm(self, body: bytes) -> None:
        wire = NDJSON.event(entry(2, body))
        assert (wire.count(b"\n"), wire[-1:]) == (1, b"\n")
        assert json.loads(wire) == {"id": f"{EPOCH}-2", **json.loads(body)}

    def test_a_lost_gap_has_the_position_as_its_id_and_a_trimmed_one_none(self) -> None:
        lost = json.loads(NDJSON.gap(None, Gap("lost", EventId(EPOCH, 7)))[0])
        assert lost == {"id": f"{EPOCH}-7", "type": "gap", "reason": "lost", "position": f"{EPOCH}-7"}
        assert "id" not in json.loads(NDJSON.gap(None, Gap("trimmed", EventId(EPOCH, 7)))[0])

    def test_a_ping_is_an_empty_line(self) -> None:
        assert NDJSON.ping == b"\n"


class TestChoose:
    @pytest.mark.parametrize("accept", ["", "*/*", "text/event-stream, */*", "text/*", "application/x-ndjson;q=0, */*"])
    def test_server_sent_events_are_the_default(self, accept: str) -> None:
        assert choose(accept) is SSE

    def test_ndjson_is_for_those_who_ask(self) -> None:
        assert choose("*/*, application/x-ndjson") is NDJSON

    def test_a_request_that_accepts_no_dialect_is_refused(self) -> None:
        with pytest.raises(NotAcceptable):
            choose("image/png, text/event-stream;q=0")


class TestWebSocket:
    @pytest.mark.parametrize(("reason", "cursor"), [("lost", {"id": f"{EPOCH}-7"}), ("trimmed", {})])
    def test_a_gap_is_a_message_that_moves_the_cursor_only_where_events_are_lost(
        self, reason: Any, cursor: dict[str, str]
    ) -> None:
        [frame] = server_frames(WEBSOCKET.gap(None, Gap(reason, EventId(EPOCH, 7)))[0])
        assert json.loads(frame.payload) == cursor | {"type": "gap", "reason": reason, "position": f"{EPOCH}-7"}
