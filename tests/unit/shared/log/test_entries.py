from __future__ import annotations

import pytest
from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry, chained, entries_of, entry_of, following, foreign_lead, own_entries
from hypothesis import given
from hypothesis import strategies as st

EPOCH = 1763683200123

Reply = list[tuple[bytes, list[bytes]]]


def row(seq: int, *, epoch: int = EPOCH, job: bytes = b"j1", kind: bytes = b"status") -> tuple[bytes, list[bytes]]:
    return b"%d-%d" % (epoch, seq), [b"%b %b" % (job, kind), b'{"n":%d}' % seq]


@st.composite
def replies(draw: st.DrawFn) -> Reply:
    """What Redis may answer: ids that ascend, some with `p` or with a field of another kind behind it."""
    reply: Reply = []
    ids = draw(st.sets(st.tuples(st.integers(EPOCH, EPOCH + 2), st.integers(1, 12)), max_size=20))
    for epoch, seq in sorted(ids):
        job, kind = draw(st.sampled_from([b"j1", b"j2", b""])), draw(st.sampled_from([b"status", b"of tomorrow"]))
        raw_id, fields = row(seq, epoch=epoch, job=job, kind=kind)
        more = draw(st.sampled_from([[], [], [], [b"p", b"1-1"], [b"z", b"9"], [b"z", b"9", b"p", b"1-1"]]))
        reply.append((raw_id, [*fields, *more]))
    return reply


FOREIGN = [
    [b"kind-missing", b'{"type":"x"}'],
    [b"foo", b"bar"],
    [b"foo", b"bar", b"a", b"1", b"b", b"2"],
    [b"\xff\xfe status", b"{}"],
    [b"j1 status", b"bar"],
    [b"j1 status", b"{bar}"],
    [b"j1 status", b"[]"],
    [b"j1 status", b"\xff"],
    [b"j1 status", b""],
    [b"j1 status", b"{}", b"p", b"none"],
]


class TestReading:
    @given(replies())
    def test_many_together_are_read_as_each_alone(self, reply: Reply) -> None:
        assert list(entries_of(reply)) == [entry_of(*one) for one in reply]

    @given(replies())
    def test_an_event_is_what_its_name_says(self, reply: Reply) -> None:
        for entry, (raw_id, fields) in zip(entries_of(reply), reply, strict=True):
            prev = EventId(1, 1) if b"p" in fields else None
            name = f"{entry.job_id} {entry.kind}".encode()
            assert (str(entry.id).encode(), name, entry.body, entry.prev) == (raw_id, *fields[:2], prev)

    @given(replies(), st.integers(0, 20), st.integers(0, 20))
    def test_a_part_of_them_is_what_it_is_of_each_alone(self, reply: Reply, start: int, end: int) -> None:
        assert list(entries_of(reply)[start:end]) == [entry_of(*one) for one in reply[start:end]]

    @pytest.mark.parametrize("count", [1, 9])
    @pytest.mark.parametrize("fields", FOREIGN, ids=str)
    def test_entries_are_read_up_to_a_foreign_one(self, count: int, fields: list[bytes]) -> None:
        reply = [row(seq) for seq in range(1, count)]
        foreign = b"%d-%d" % (EPOCH, count), fields
        assert list(entries_of([*reply, foreign, row(count + 1)])) == [entry_of(*one) for one in reply]
        assert list(own_entries([*reply, foreign, row(10)])) == [entry_of(*one) for one in [*reply, row(10)]]
        assert foreign_lead([foreign, foreign, *reply]) == 2

    @pytest.mark.parametrize("raw_id", [b"%d-0" % EPOCH, b"5-1", b"%d-1" % 2**53, b"%d-%d" % (EPOCH, 10**10)])
    def test_an_entry_whose_id_no_cursor_can_name_is_foreign(self, raw_id: bytes) -> None:
        assert foreign_lead([(raw_id, row(1)[1])]) == 1
        assert own_entries([(raw_id, row(1)[1])] * 5) == []

    def test_a_body_that_does_not_begin_with_its_type_is_an_event_if_it_is_a_json_object(self) -> None:
        reply = [(b"%d-%d" % (EPOCH, seq), [b"j1 data", b'{ "n":1,"type":"data" }']) for seq in range(1, 9)]
        assert len(entries_of(reply)) == len(reply)


class TestChain:
    @given(replies(), st.integers(0, 12))
    def test_a_chain_is_as_long_as_each_entry_follows_the_one_before(self, reply: Reply, seq: int) -> None:
        entries = entries_of(reply)
        cursor, count = EventId(EPOCH, seq), 0
        for entry in entries:
            prev = entry.prev if entry.id.seq == 1 else EventId(entry.id.epoch, entry.id.seq - 1)
            if prev != cursor:
                break
            cursor, count = entry.id, count + 1
        assert chained(EventId(EPOCH, seq), entries) == count

    @given(replies().filter(bool), st.integers(0, 12), st.integers(0, 20))
    def test_a_reply_is_read_for_as_long_as_its_entries_are_ours_and_follow(
        self, reply: Reply, seq: int, ours: int
    ) -> None:
        cursor, entries = EventId(EPOCH, seq), entries_of(reply[:ours])
        foreign = [(raw_id, [b"not", *fields]) for raw_id, fields in reply[ours:]]
        assert list(following(cursor, [*reply[:ours], *foreign])) == list(entries[: chained(cursor, entries)])

    @pytest.mark.parametrize(
        ("seq", "fields"),
        [(1, [b"j1 status", b"{}", b"p", b"1-1"]), (3, [b"j1 status", b"{}"]), (2, [b"not", b"ours"])],
    )
    def test_one_by_itself_is_held_to_it_as_well(self, seq: int, fields: list[bytes]) -> None:
        before = EventId(EPOCH, 1 if seq > 1 else 0)
        assert not following(before, [(b"%d-%d" % (EPOCH, seq), fields)])

    def test_a_hole_in_the_middle_ends_it(self) -> None:
        entries = [Entry(EventId(EPOCH, seq), "status", "j1", b"{}", None) for seq in (2, 3, 5, 6)]
        assert chained(EventId(EPOCH, 1), entries) == 2
