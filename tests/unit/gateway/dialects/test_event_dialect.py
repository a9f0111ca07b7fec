"""What a dialect of Holdfast's own events has without writing it."""

from __future__ import annotations

import orjson
import pytest
from holdfast.gateway.dialects.dialect import CUT
from holdfast.gateway.dialects.event_dialect import EventDialect
from holdfast.gateway.dialects.registry import DIALECTS, choose
from holdfast.gateway.errors import NotAcceptable
from holdfast.gateway.routes.events import example_content
from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap

from tests.support.entries import EPOCH, entry, text


class Types(EventDialect):
    """Each line is a cursor and the type of an event. Fails for an event without a type."""

    media_type = "text/x-types"

    def frame(self, event_id: bytes | None, body: bytes) -> bytes:
        return b"%b %b\n" % (event_id or b"-", orjson.loads(body)["type"].encode())


TYPES = Types()


def test_a_text_is_in_utf_8() -> None:
    assert TYPES.headers["content-type"] == "text/x-types; charset=utf-8"


@pytest.mark.parametrize("dialect", [TYPES, *DIALECTS], ids=lambda dialect: dialect.media_type)
def test_a_page_is_the_frames_of_its_events(dialect: EventDialect) -> None:
    entries = [text(2), text(3)]
    framed = b"".join(dialect.frame(b"%d-%d" % one.id, one.body) for one in entries)
    assert dialect.frames(None, entries) == (framed, None)
    assert b"".join(map(dialect.event, entries)) == framed


def test_a_gap_is_an_event_and_a_trimmed_one_has_no_cursor() -> None:
    assert TYPES.gap(None, Gap("lost", EventId(EPOCH, 7))) == (b"1763683200123-7 gap\n", None)
    assert TYPES.gap(None, Gap("trimmed", EventId(EPOCH, 7))) == (b"- gap\n", None)


def test_a_waiting_job_is_an_event_without_a_cursor() -> None:
    assert TYPES.queued("j1", 2) == b"- job.queued\n"


def test_a_stream_that_ends_early_is_cut() -> None:
    assert TYPES.closing(1000) is None


@pytest.mark.parametrize("page", [[entry(2, b"{}")], [text(2), entry(3, b"{}")]], ids=["one", "several"])
def test_an_event_that_cannot_be_framed_cuts_the_stream(page: list[Entry]) -> None:
    assert TYPES.frames(None, page) == (b"", CUT)
    assert TYPES.frames(CUT, [text(4)]) == (b"", CUT)


class Binary(EventDialect):
    media_type = "application/x-binary"

    def frame(self, event_id: bytes | None, body: bytes) -> bytes:
        return len(body).to_bytes(4, "big") + b"\xff"


def test_the_openapi_document_shows_an_event_of_each_dialect() -> None:
    content = example_content([TYPES, Binary()])
    assert content["text/x-types"]["example"] == "1763683200123-2 text.delta\n"
    assert "\N{REPLACEMENT CHARACTER}" in content["application/x-binary"]["example"]


def test_a_refusal_lists_all_media_types() -> None:
    with pytest.raises(NotAcceptable) as refused:
        choose("image/png")
    assert refused.value.title == str(refused.value) == refused.value.detail
    assert refused.value.title.startswith("Accept must allow text/event-stream")
    assert all(dialect.media_type in refused.value.title for dialect in DIALECTS)
