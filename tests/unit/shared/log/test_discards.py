"""Which events of a job count after several starts have discarded some."""

from __future__ import annotations

import orjson
from holdfast.shared.ids import EventId
from holdfast.shared.log.discards import Discards, ranges_of
from holdfast.shared.log.entries import Entry
from hypothesis import given
from hypothesis import strategies as st

EPOCH = 1763683200123


def at(seq: int) -> EventId:
    return EventId(EPOCH, seq)


def event(seq: int, kind: str = "text.delta", job_id: str = "j1", **fields: object) -> Entry:
    return Entry(at(seq), kind, job_id, orjson.dumps({"type": kind, "job_id": job_id, **fields}), None)


def start(seq: int, discard_from: int | None = None) -> Entry:
    return event(seq, "job.started", **({} if discard_from is None else {"discard_from": str(at(discard_from))}))


def kept(log: list[Entry]) -> list[int]:
    discards = Discards()
    discards.learn(log)
    return [entry.id.seq for entry in discards.kept(log)]


def test_a_start_discards_its_jobs_events_from_the_one_that_it_names_on() -> None:
    assert kept([start(1), event(2), event(3, job_id="j2"), start(4, 1), event(5)]) == [3, 4, 5]
    assert kept([start(1), event(2), event(3), start(4, 3), event(5)]) == [1, 2, 4, 5]


def test_several_starts_of_one_job_discard_each_its_own() -> None:
    log = [start(1), event(2), event(3), start(4, 3), event(5), event(6), start(7, 6), event(8)]
    assert kept(log) == [1, 2, 4, 5, 7, 8]
    assert kept([*log, start(9, 2), event(10)]) == [1, 9, 10]


def test_a_later_start_that_names_the_same_event_covers_the_earlier_in_whatever_order_they_are_learned() -> None:
    discards = Discards()
    discards.add("j1", at(1), at(9))
    discards.add("j1", at(1), at(4))
    assert [entry.id.seq for entry in discards.kept([event(seq) for seq in (3, 8, 9)])] == [9]


def test_a_job_with_one_attempt_discards_nothing() -> None:
    discards = Discards()
    discards.add("j1", at(1), at(1))
    assert not discards
    log = [start(1), event(2)]
    assert discards.kept(log) == log


def test_a_range_is_parted_where_it_begins_and_ends_to_be_discarded() -> None:
    discards = Discards()
    discards.add("j1", at(3), at(5))
    discards.add("j1", at(8), at(20))
    parts = [(at(1), at(2)), (at(3), at(4)), (at(5), at(7)), (at(8), at(9))]
    assert discards.parts("j1", at(1), at(9)) == parts
    assert [discards.covers("j1", first) for first, _ in parts] == [False, True, False, True]
    assert discards.parts("j2", at(1), at(9)) == [(at(1), at(9))]


def test_the_record_of_a_job_lists_ranges() -> None:
    assert ranges_of("") == []
    assert ranges_of(f"{at(1)} {at(4)} {at(6)} {at(9)}") == [(at(1), at(4)), (at(6), at(9))]


@given(st.data())
def test_what_counts_is_what_a_viewer_keeps_who_drops_at_each_start(data: st.DataObject) -> None:
    """As long as each start names an event that counts, or one that an earlier start has named."""
    log, held, named = [start(1)], [1], [1]
    for seq in range(2, data.draw(st.integers(2, 40))):
        if data.draw(st.integers(0, 3)):
            log.append(event(seq))
        else:
            discard_from = data.draw(st.sampled_from(sorted({*held, *(n for n in named if n <= max(held) + 1)})))
            log.append(start(seq, discard_from))
            held = [other for other in held if other < discard_from]
            named = [n for n in named if n <= discard_from] + [discard_from]
        held.append(seq)
    assert kept(log) == held
