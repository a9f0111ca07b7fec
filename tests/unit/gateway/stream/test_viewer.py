"""A viewer's position: what a ping names."""

from __future__ import annotations

from typing import cast
from unittest.mock import Mock

from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.stream.channel import Channel
from holdfast.gateway.stream.viewer import StreamRequest, Viewer
from holdfast.shared.ids import EventId
from holdfast.shared.log.event_log import Entry, Page

EPOCH = 1763683200123


def delta(seq: int) -> Entry:
    return Entry(
        EventId(EPOCH, seq), "text.delta", "j1", b'{"type":"text.delta","job_id":"j1","text":"w","part":0}', None
    )


def catching_up() -> tuple[Viewer, Mock]:
    """A viewer that has event 1 and from whose page of events 2 and 3 a merged run is open."""
    transport = Mock(blocked_since=None, closed=False)
    request = StreamRequest("s", SSE, cursor=EventId(EPOCH, 1), ping_events=True)
    viewer = Viewer(Mock(counters=Mock(bytes=0)), request, transport, cast("Channel", None))
    assert viewer.replay is not None
    rendered = viewer.replay.render(viewer.cursor, Page([delta(2), delta(3)], more=True))
    viewer.push(rendered.data, rendered.cursor, over=False)
    assert viewer.cursor == EventId(EPOCH, 3)
    return viewer, transport


def test_a_ping_names_what_was_sent_while_a_merged_run_is_open() -> None:
    viewer, transport = catching_up()
    viewer.ping()
    assert transport.write.call_args.args == (SSE.ping_event(EventId(EPOCH, 1)),)


def test_a_ping_names_what_was_sent_after_the_session_was_deleted_while_a_merged_run_is_open() -> None:
    viewer, transport = catching_up()
    viewer.end_with_deletion()
    viewer.ping()
    assert transport.write.call_args.args == (SSE.ping_event(EventId(EPOCH, 1)),)
