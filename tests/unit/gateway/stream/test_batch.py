"""Batches: what viewers at different cursors get of them, and how they are cut."""

from __future__ import annotations

import pytest
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.stream.batch import WRITE_BYTES, Batch, batches, until_deleted
from holdfast.shared.ids import ORIGIN, EventId

from tests.support.entries import EPOCH, entry, parsed, text
from tests.support.numbering import Numbering


def data_after(batch: Batch, cursor: EventId, job_id: str | None = None) -> bytes:
    frames = batch.after(cursor, SSE, None, job_id)
    assert frames is not None
    return frames[0]


class TestBatch:
    batch = Batch(EventId(EPOCH, 1), [text(2), text(3, "j2"), text(4)])

    def test_a_viewer_at_the_position_before_gets_all_of_it(self) -> None:
        frames = parsed(data_after(self.batch, EventId(EPOCH, 1)))
        assert [frame.id for frame in frames] == [f"{EPOCH}-{seq}" for seq in (2, 3, 4)]

    def test_a_viewer_further_ahead_gets_only_what_it_lacks(self) -> None:
        frames = parsed(data_after(self.batch, EventId(EPOCH, 3)))
        assert [frame.id for frame in frames] == [f"{EPOCH}-4"]

    @pytest.mark.parametrize("cursor", [EventId(EPOCH, 4), EventId(EPOCH + 1, 1)])
    def test_a_viewer_at_the_end_or_behind_it_gets_nothing(self, cursor: EventId) -> None:
        assert data_after(self.batch, cursor) == b""

    @pytest.mark.parametrize("cursor", [ORIGIN, EventId(EPOCH - 1, 9)])
    def test_a_viewer_that_lacks_what_came_before_does_not_fit(self, cursor: EventId) -> None:
        assert self.batch.after(cursor, SSE, None, None) is None

    def test_a_viewer_of_one_job_gets_only_that(self) -> None:
        frames = parsed(data_after(self.batch, EventId(EPOCH, 1), "j2"))
        assert [frame.id for frame in frames] == [f"{EPOCH}-3"]

    def test_viewers_at_the_same_cursor_share_the_same_bytes(self) -> None:
        first, second = (data_after(self.batch, EventId(EPOCH, 1)) for _ in range(2))
        assert first is second

    def test_a_jobs_stream_is_over_with_its_terminal_event_and_not_with_anothers(self) -> None:
        end = entry(5, b'{"type":"job.failed"}', "j1", "job.failed")
        batch = Batch(EventId(EPOCH, 4), [end])
        assert (batch.ends("j1"), batch.ends("j2"), batch.ends(None)) == (True, False, False)

    def test_every_stream_is_over_with_the_session(self) -> None:
        batch = Batch(EventId(EPOCH, 4), [entry(5, b'{"type":"session.deleted"}', "", "session.deleted")])
        assert (batch.ends("j1"), batch.ends(None)) == (True, True)
        assert b"session.deleted" in data_after(batch, EventId(EPOCH, 4), "j1")

    def test_nothing_comes_after_the_sessions_end(self) -> None:
        deleted = entry(3, b"{}", "", "session.deleted")
        assert until_deleted([text(2), deleted, text(4)]) == [text(2), deleted]
        pieces = batches(EventId(EPOCH, 1), [text(2), deleted, text(4)])
        assert [piece.entries for piece in pieces] == [[text(2), deleted]]

    def test_entries_are_cut_into_chained_pieces_of_one_write_each(self) -> None:
        large = [entry(seq, b"x" * (WRITE_BYTES // 3)) for seq in range(2, 9)] + [entry(9, b"y" * 2 * WRITE_BYTES)]
        pieces = list(batches(EventId(EPOCH, 1), large))
        assert [len(piece.entries) for piece in pieces] == [3, 3, 1, 1]
        assert [piece.prev for piece in pieces[1:]] == [piece.last for piece in pieces[:-1]]

    def test_viewers_in_another_state_of_their_dialect_get_frames_of_their_own(self) -> None:
        dialect = Numbering()
        framed = [self.batch.after(EventId(EPOCH, 1), dialect, state, None) for state in (0, 7, 0)]
        assert [frames and frames[1] for frames in framed] == [3, 10, 3]
        assert framed[0] is framed[2]
        assert framed[0] != framed[1]
