from __future__ import annotations

import orjson
import pytest
from holdfast.gateway.dialects.ndjson import NDJSON
from holdfast.gateway.dialects.sse import SSE
from holdfast.gateway.stream.batch import WRITE_BYTES
from holdfast.gateway.stream.page_cache import CachedPage
from holdfast.gateway.stream.replay import Replay
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.discards import Discard
from holdfast.shared.log.event_log import PAGE_EVENTS, Entry, Gap, Page

from tests.support.sse import Frame, SseParser

EPOCH = 1763683200123


def at(seq: int) -> EventId:
    return EventId(EPOCH, seq)


def delta(seq: int, text: str = "w", job_id: str = "j1") -> Entry:
    body = orjson.dumps({"type": "text.delta", "job_id": job_id, "text": text, "part": 0})
    return Entry(at(seq), "text.delta", job_id, body, None)


def end(seq: int, job_id: str = "j1") -> Entry:
    body = orjson.dumps({"type": "job.completed", "job_id": job_id})
    return Entry(at(seq), "job.completed", job_id, body, None)


def frames(wire: bytes) -> list[Frame]:
    return SseParser().feed(wire)


def kinds(wire: bytes) -> list[object]:
    return [frame.json["type"] for frame in frames(wire)]


class TestPages:
    def test_a_run_of_deltas_continues_on_the_next_page(self) -> None:
        replay = Replay(SSE, None, raw=False)
        first = replay.render(at(1), Page([delta(2, "a"), delta(3, "b")], more=True))
        assert (first.data, first.cursor, first.at_end) == (b"", at(3), False)
        second = replay.render(at(3), Page([delta(4, "c")]))
        (merged,) = frames(second.data)
        assert (merged.json["text"], merged.json["from"], merged.id) == ("abc", str(at(2)), str(at(4)))
        assert second.at_end

    def test_raw_streams_leave_events_unchanged(self) -> None:
        rendered = Replay(SSE, None, raw=True).render(at(1), Page([delta(2), delta(3)]))
        assert [frame.id for frame in frames(rendered.data)] == [str(at(2)), str(at(3))]

    def test_a_jobs_stream_skips_events_of_other_jobs(self) -> None:
        rendered = Replay(SSE, "j1", raw=True).render(at(1), Page([delta(2), delta(3, job_id="j2")]))
        assert [frame.id for frame in frames(rendered.data)] == [str(at(2))]
        assert rendered.cursor == at(3)

    def test_a_jobs_stream_flushes_the_open_run_and_ends_with_its_terminal_event(self) -> None:
        rendered = Replay(SSE, "j1", raw=False).render(at(1), Page([delta(2), end(3)], more=True))
        assert rendered.over
        assert kinds(rendered.data) == ["text.delta", "job.completed"]

    def test_a_sessions_stream_continues_after_the_end_of_a_job(self) -> None:
        assert not Replay(SSE, None, raw=False).render(at(1), Page([end(2)])).over

    def test_pages_shrink_when_events_are_large_and_grow_when_they_are_small(self) -> None:
        replay = Replay(SSE, None, raw=True)
        replay.render(at(1), Page([delta(2, "x" * WRITE_BYTES)], more=True))
        assert replay.count == 1
        replay.render(at(2), Page([delta(3, "x")], more=True))
        assert replay.count == PAGE_EVENTS

    def test_a_page_of_large_events_is_cut_to_one_write(self) -> None:
        large = [delta(seq, "x" * (WRITE_BYTES // 2)) for seq in range(2, 10)]
        rendered = Replay(SSE, None, raw=True).render(at(1), Page(large))
        assert (rendered.cursor, rendered.at_end) == (at(2), False)


class TestSent:
    """`sent`: the id up to which everything has been sent, which pings contain."""

    def test_sent_is_the_end_of_a_page_without_held_frames(self) -> None:
        replay = Replay(SSE, "j1", raw=True)
        replay.render(at(1), Page([delta(2), delta(3, job_id="j2")], more=True))
        assert replay.sent == at(3)

    def test_sent_stays_below_an_open_run(self) -> None:
        replay = Replay(SSE, None, raw=False, sent=at(1))
        replay.render(at(1), Page([delta(2), delta(3)], more=True))
        assert replay.sent == at(1)
        replay.render(at(3), Page([end(4), delta(5)], more=True))
        assert replay.sent == at(4)
        replay.render(at(5), Page([]))
        assert replay.sent == at(5)

    def test_sent_stays_below_a_held_gap(self) -> None:
        replay = Replay(SSE, "j1", raw=True, sent=at(1))
        replay.render(at(1), Page([delta(50, job_id="j2")], Gap("trimmed", at(50)), more=True))
        assert replay.sent == at(1)

    def test_viewers_of_a_cached_page_have_the_same_sent_id(self) -> None:
        page = shared(Page([end(2), delta(3)], more=True))
        replays = [Replay(SSE, None, raw=False, sent=at(1)) for _ in range(2)]
        for replay in replays:
            replay.render_cached(at(1), page)
        assert [replay.sent for replay in replays] == [at(2), at(2)]


class TestGaps:
    def test_a_trimmed_gap_is_sent_in_one_write_with_the_next_event(self) -> None:
        replay = Replay(SSE, None, raw=False)
        gap = replay.render(at(1), Page([delta(50, "a")], Gap("trimmed", at(50)), more=True))
        assert gap.data == b""  # the run is still open
        rest = replay.render(at(50), Page([delta(51, "b")]))
        assert kinds(rest.data) == ["gap", "text.delta"]
        assert frames(rest.data)[0].id == ""

    def test_a_held_gap_precedes_its_event_when_the_log_is_trimmed_again(self) -> None:
        replay = Replay(SSE, None, raw=False)
        first = replay.render(at(1), Page([delta(50, "a")], Gap("trimmed", at(50)), more=True))
        second = replay.render(at(50), Page([delta(90, "b")], Gap("trimmed", at(90)), more=True))
        third = replay.render(at(90), Page([]))
        shown = [[f.json.get("position") or f.id for f in frames(rendered.data)] for rendered in (first, second, third)]
        assert shown == [[], [str(at(50)), str(at(50))], [str(at(90)), str(at(90))]]

    def test_a_held_gap_precedes_a_loss_that_sets_the_cursor_back(self) -> None:
        replay = Replay(SSE, "j1", raw=False)
        replay.render(at(1), Page([delta(50, job_id="j2")], Gap("trimmed", at(50)), more=True))
        lost = replay.render(at(60), Page([], Gap("lost", at(55))))
        assert [frame.json["reason"] for frame in frames(lost.data)] == ["trimmed", "lost"]

    def test_a_trimmed_gap_without_a_next_event_is_sent_before_going_live(self) -> None:
        replay = Replay(SSE, "j1", raw=False)
        rendered = replay.render(at(1), Page([delta(50, job_id="j2")], Gap("trimmed", at(50))))
        assert rendered.data == b""
        assert kinds(replay.remaining()) == ["gap"]
        assert replay.remaining() == b""

    def test_a_lost_gap_follows_earlier_events_and_resets_the_cursor(self) -> None:
        replay = Replay(SSE, None, raw=False)
        replay.render(at(1), Page([delta(2, "a")], more=True))
        rendered = replay.render(at(9), Page([], Gap("lost", at(5))))
        assert kinds(rendered.data) == ["text.delta", "gap"]
        assert (rendered.cursor, rendered.at_end) == (at(5), False)
        assert frames(rendered.data)[-1].id == str(at(5))

    def test_a_missing_log_is_announced_once_and_then_is_the_end(self) -> None:
        replay = Replay(SSE, None, raw=False)
        first = replay.render(at(9), Page([], Gap("expired", ORIGIN)))
        assert (kinds(first.data), first.cursor, first.at_end) == (["gap"], ORIGIN, False)
        second = replay.render(ORIGIN, Page([], Gap("expired", ORIGIN)))
        assert (second.data, second.cursor, second.at_end) == (b"", ORIGIN, True)

    def test_a_gap_makes_the_jobs_record_stale(self) -> None:
        replay = Replay(SSE, "j1", raw=False)
        replay.render(at(1), Page([], Gap("lost", at(1))))
        assert replay.job_stale

    def test_an_end_from_the_record_follows_the_gap(self) -> None:
        replay = Replay(SSE, "j1", raw=False)
        replay.render(at(1), Page([delta(50, job_id="j2")], Gap("trimmed", at(50))))
        assert kinds(replay.finish(end(9))) == ["gap", "job.completed"]


def shared(page: Page) -> CachedPage:
    """Rendering of a cached page for several viewers."""
    one = CachedPage()
    one.page = page
    return one


class TestShared:
    @pytest.mark.parametrize("raw", [True, False], ids=["raw", "compact"])
    def test_viewers_in_the_same_state_share_the_same_bytes(self, raw: bool) -> None:
        pages = [shared(Page([delta(2), delta(3)], more=True)), shared(Page([delta(4), end(5)]))]
        viewers = [Replay(SSE, None, raw=raw) for _ in range(3)]
        first, second = [[replay.render_cached(at(1), page) for replay in viewers] for page in pages]
        assert all(rendered.data is first[0].data for rendered in first)
        assert all(rendered.data is second[0].data for rendered in second)
        alone = Replay(SSE, None, raw=raw)
        assert [alone.render(at(1), page.page) for page in pages] == [first[0], second[0]]

    def test_each_state_has_its_own_bytes(self) -> None:
        page = shared(Page([delta(2, "a"), delta(3, "b"), delta(4, job_id="j2")]))
        replays = [Replay(SSE, None, raw=True), Replay(SSE, None, raw=False), Replay(SSE, "j2", raw=True)]
        replays += [Replay(NDJSON, None, raw=True)]
        rendered = [replay.render_cached(at(1), page).data for replay in replays]
        assert rendered == [replay.render(at(1), page.page).data for replay in replays]
        assert len(set(rendered)) == 4

    def test_an_open_run_is_not_shared_with_a_viewer_that_begins_at_the_page(self) -> None:
        page = shared(Page([delta(3, "b")]))
        ahead, fresh = Replay(SSE, None, raw=False), Replay(SSE, None, raw=False)
        ahead.render(at(1), Page([delta(2, "a")], more=True))
        texts = [frames(replay.render_cached(at(2), page).data)[0].json["text"] for replay in (ahead, fresh, ahead)]
        assert texts == ["ab", "b", "b"]

    def test_a_viewer_with_discards_does_not_affect_other_viewers(self) -> None:
        page = shared(Page([delta(2, "a"), delta(3, "b")]))
        knowing, other = Replay(SSE, None, raw=False), Replay(SSE, None, raw=False)
        knowing.add_discards([Discard("j1", at(1), at(9))])
        assert [replay.render_cached(at(1), page).events for replay in (knowing, other, knowing)] == [0, 1, 0]

    def test_prepended_frames_are_sent_to_one_viewer_only(self) -> None:
        page = shared(Page([delta(2)]))
        told, other = Replay(SSE, None, raw=True), Replay(SSE, None, raw=True)
        told.put(SSE.cursor_only(at(1)))
        assert [
            replay.render_cached(at(1), page).data.startswith(SSE.cursor_only(at(1))) for replay in (told, other)
        ] == [
            True,
            False,
        ]

    def test_after_a_gap_only_newer_pages_are_used(self) -> None:
        replay = Replay(SSE, None, raw=True)
        came = replay.since
        replay.render_cached(at(9), shared(Page([], Gap("lost", at(5)))))
        assert replay.since > came
