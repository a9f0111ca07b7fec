from __future__ import annotations

from collections import defaultdict
from itertools import pairwise

import orjson
import pytest
from holdfast.gateway.stream.compaction import MERGED_BYTES, Compactor
from holdfast.shared.ids import EventId
from holdfast.shared.log.event_log import Entry
from holdfast.shared.log.events import DELTAS
from hypothesis import given
from hypothesis import strategies as st

EPOCH = 1763683200123


def at(seq: int) -> EventId:
    return EventId(EPOCH, seq)


def event(seq: int, kind: str = "text.delta", job_id: str = "j1", **fields: object) -> Entry:
    return Entry(at(seq), kind, job_id, orjson.dumps({"type": kind, "job_id": job_id, **fields}), None)


def delta(seq: int, text: str, job_id: str = "j1", part: int = 0, **fields: object) -> Entry:
    return event(seq, "text.delta", job_id, text=text, part=part, **fields)


def compact(entries: list[Entry]) -> list[Entry]:
    compactor = Compactor()
    return [*compactor.feed(entries), *compactor.flush()]


def body(entry: Entry) -> dict[str, object]:
    value: dict[str, object] = orjson.loads(entry.body)
    return value


def streams(entries: list[Entry]) -> dict[tuple[object, ...], str]:
    """The whole text of each job, kind, agent and part or call."""
    texts: dict[tuple[object, ...], str] = defaultdict(str)
    for entry in entries:
        if entry.kind in DELTAS:
            name, run = DELTAS[entry.kind]
            value = body(entry)
            texts[entry.kind, value["job_id"], value.get("agent"), value[run]] += str(value[name])
    return texts


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    """A log as agents write it: long runs, broken by other events and other parts."""
    pieces = st.tuples(
        st.sampled_from(["text.delta", "reasoning.delta", "tool.arguments.delta", "status"]),
        st.sampled_from(["j1", "j2"]),
        st.sampled_from([0, 1]),
        st.sampled_from([None, "writer"]),
        st.lists(st.one_of(st.text(max_size=5), st.text('ab"\\\n/,:}\u2028\0', max_size=4)), min_size=1, max_size=30),
    )
    entries: list[Entry] = []
    for kind, job_id, run, agent, texts in draw(st.lists(pieces, max_size=8)):
        for text in texts:
            name, by = DELTAS.get(kind, ("message", "at"))
            fields = {name: text, by: run, **({"agent": agent} if agent else {})}
            entries.append(event(len(entries) + 1, kind, job_id, **fields))
    return entries


class TestMerging:
    def test_adjacent_deltas_become_one_with_the_last_id_and_the_first_as_from(self) -> None:
        (merged,) = compact([delta(2, "Hel"), delta(3, "lo"), delta(4, "!")])
        assert merged.id == at(4)
        assert body(merged) == {
            "type": "text.delta",
            "job_id": "j1",
            "part": 0,
            "text": "Hello!",
            "from": str(at(2)),
        }

    def test_a_delta_that_stands_alone_keeps_its_bytes(self) -> None:
        alone = Entry(at(2), "text.delta", "j1", b'{"type":"text.delta",  "job_id":"j1","text":"a","part":0}', None)
        assert compact([alone]) == [alone]

    @pytest.mark.parametrize(
        "other",
        [
            delta(3, "b", part=1),
            delta(3, "b", job_id="j2"),
            delta(3, "b", agent="writer"),
            event(3, "reasoning.delta", text="b", part=0),
            event(3, "status", message="b"),
            delta(3, "b", extra=1),
        ],
        ids=["part", "job", "agent", "type", "no delta", "a field of its own"],
    )
    def test_what_differs_is_not_merged(self, other: Entry) -> None:
        assert compact([delta(2, "a"), other]) == [delta(2, "a"), other]

    def test_arguments_of_one_call_are_merged_and_those_of_two_are_not(self) -> None:
        calls = [event(seq, "tool.arguments.delta", call_id=call, delta="x") for seq, call in enumerate("aab", 2)]
        assert [body(merged).get("delta") for merged in compact(calls)] == ["xx", "x"]

    def test_a_merged_event_stays_within_its_bound_and_one_that_is_larger_is_left_alone(self) -> None:
        huge = delta(2, "x" * (MERGED_BYTES + 1))
        merged = compact([huge, *(delta(seq, "y" * 1000) for seq in range(3, 203))])
        assert merged[0] == huge
        assert all(len(entry.body) <= MERGED_BYTES for entry in merged[1:])
        assert 3 < len(merged) < 7

    @pytest.mark.parametrize(
        "odd",
        [
            b'{"type":"text.delta","job_id":"j1","text":"b","agent":"c","part":0}',
            b'{"type":"text.delta","job_id":"j1","text":"b","part":0}{"type":"text.delta","job_id":"j1","text":"","part":0}',
            b'{"type":"text.delta","job_id":"j1","text":"b\\","part":0}',
            b'{"type":"text.delta","job_id":"j1","text":"b\n","part":0}',
        ],
        ids=["a field behind the text", "two objects", "its end is escaped", "a bare line end"],
    )
    def test_what_only_looks_like_a_delta_of_the_run_from_both_ends_is_not_merged(self, odd: bytes) -> None:
        log = [delta(seq, "a") for seq in range(2, 10)]
        log[5] = Entry(log[5].id, "text.delta", "j1", odd, None)
        assert log[5] in compact(log)

    def test_texts_that_end_in_a_backslash_are_merged_as_they_are(self) -> None:
        (merged,) = compact([delta(seq, text) for seq, text in enumerate(["a\\", '"', "\\\\", "\n", "b", "\\"] * 9, 2)])
        assert body(merged)["text"] == 'a\\"\\\\\nb\\' * 9

    def test_a_run_that_somebody_took_over_is_left_as_it_was(self) -> None:
        compactor = Compactor()
        compactor.feed([delta(2, "a"), delta(3, "b")])
        other = Compactor(compactor.run)
        compactor.feed([delta(4, "c")])
        assert [body(entry)["text"] for entry in [*other.flush(), *compactor.flush()]] == ["ab", "abc"]

    def test_a_body_that_is_not_json_passes_through(self) -> None:
        odd = Entry(at(3), "text.delta", "j1", b'{"type":"text.delta","text":"\\ud83d"', None)
        assert compact([delta(2, "a"), odd, delta(4, "b")]) == [delta(2, "a"), odd, delta(4, "b")]

    @given(logs(), st.lists(st.integers(0, 40)))
    def test_the_text_is_equal_and_page_borders_make_no_difference(self, log: list[Entry], borders: list[int]) -> None:
        compactor = Compactor()
        paged: list[Entry] = []
        cuts = sorted({0, len(log), *(border for border in borders if border < len(log))})
        for start, end in pairwise(cuts):
            paged += compactor.feed(log[start:end])
        paged += compactor.flush()
        assert paged == compact(log)
        assert streams(paged) == streams(log)

    @given(logs())
    def test_ids_stay_valid_cursors_in_rising_order_and_runs_cover_the_log_without_overlap(
        self, log: list[Entry]
    ) -> None:
        covered: list[EventId] = []
        for entry in compact(log):
            first = body(entry).get("from")
            start = at(int(str(first).partition("-")[2])) if first else entry.id
            covered += [at(seq) for seq in range(start.seq, entry.id.seq + 1)]
        assert covered == [entry.id for entry in log]

    @given(logs(), st.integers(0, 40))
    def test_a_reconnect_at_any_event_of_the_compact_log_goes_on_with_equal_text(
        self, log: list[Entry], cut: int
    ) -> None:
        seen = compact(log)[:cut]
        cursor = seen[-1].id if seen else at(0)
        rest = compact([entry for entry in log if entry.id > cursor])
        assert streams(seen + rest) == streams(log)
