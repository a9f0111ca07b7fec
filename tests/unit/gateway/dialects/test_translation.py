"""Events of another protocol are numbered from the job's first one, whatever a viewer has received before."""

from __future__ import annotations

from holdfast.gateway.dialects.dialect import CUT, END
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import ORIGIN, EventId
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap

from tests.support.counting import Counting

EPOCH = 1763683200123


def entry(seq: int, kind: str, body: bytes) -> Entry:
    return Entry(EventId(EPOCH, seq), kind, "job", body, None)


def text(seq: int, words: str) -> Entry:
    return entry(seq, "text.delta", b'{"text":"%b"}' % words.encode())


class Opaque(Counting):
    """Equal to all others, at a price."""

    comparisons = 0

    def __eq__(self, other: object) -> bool:
        Opaque.comparisons += 1
        return isinstance(other, Opaque)

    def __hash__(self) -> int:
        return 1


LOG = [entry(1, "job.started", b"{}"), text(2, "a"), text(3, "b"), text(4, "c"), entry(5, "job.completed", b"{}")]
LINES = [
    "0 hello",
    "1 job.started",
    "2 a after 0",
    "3 comma",
    "4 b after 1",
    "5 comma",
    "6 c after 2",
    "7 comma",
    "8 job.completed",
]


def lines(wire: bytes) -> list[str]:
    return wire.decode().splitlines()


def streamed(dialect: Numbered, *pages: list[Entry]) -> list[str]:
    wire, state = dialect.opening, dialect.initial_state
    for page in pages:
        data, state = dialect.frames(state, page)
        wire += data
    return lines(wire)


def test_every_event_is_sent_with_its_number() -> None:
    assert streamed(Numbered(Counting()), LOG) == LINES


def test_the_numbers_do_not_depend_on_the_pages() -> None:
    assert streamed(Numbered(Counting()), *([one] for one in LOG)) == LINES


def test_a_client_receives_the_events_after_its_cursor_wherever_it_was_cut() -> None:
    for received in range(1, len(LINES)):
        assert streamed(Numbered(Counting(), received), *([one] for one in LOG))[2:] == LINES[received:]


def test_a_stream_that_begins_behind_the_opening_begins_with_a_ping() -> None:
    assert Numbered(Counting(), 1).opening == Counting.ping


def test_viewers_with_different_cursors_share_their_frames_once_they_have_passed_them() -> None:
    one, other = Numbered(counting := Counting(), 5), Numbered(counting)
    assert one == other
    assert one.frames(one.initial_state, LOG[:2])[1] != other.frames(other.initial_state, LOG[:2])[1]
    assert one.frames(one.initial_state, LOG[:3])[1] == other.frames(other.initial_state, LOG[:3])[1]


def test_viewers_of_equal_translations_are_compared_without_looking_into_them() -> None:
    """They are compared for each viewer and write."""
    one, other = Numbered(Opaque()), Numbered(Opaque())
    Opaque.comparisons = 0
    assert one == other
    assert Opaque.comparisons == 0


def test_nothing_follows_a_cut() -> None:
    dialect = Numbered(Counting())
    taken_over = entry(3, "job.started", b'{"discard_from":"1763683200123-1"}')
    wire, state = dialect.frames(dialect.initial_state, [*LOG[:2], taken_over, text(4, "c")])
    assert lines(wire) == LINES[1:4]
    assert state is CUT
    assert dialect.frames(state, LOG[3:]) == (b"", CUT)


def test_nothing_follows_an_end_before_that_of_the_job() -> None:
    dialect = Numbered(Counting())
    wire, state = dialect.frames(dialect.initial_state, [*LOG[:2], text(3, "enough"), text(4, "c")])
    assert lines(wire)[-1] == "5 comma"
    assert state is END
    assert dialect.frames(state, LOG[3:]) == (b"", END)
    assert dialect.gap(state, Gap("trimmed", EventId(EPOCH, 4))) == (b"", END)


def test_missing_events_are_told_with_the_next_number_and_cut_the_stream() -> None:
    dialect = Numbered(Counting())
    _, state = dialect.frames(dialect.initial_state, LOG[:2])
    assert dialect.gap(state, Gap("trimmed", EventId(EPOCH, 4))) == (b"4 lost after 1\n", CUT)
    assert dialect.gap(CUT, Gap("trimmed", EventId(EPOCH, 4))) == (b"", CUT)


def test_a_foreign_entry_is_no_loss() -> None:
    dialect = Numbered(Counting())
    state = dialect.initial_state
    assert dialect.gap(state, Gap("lost", ORIGIN, EventId(EPOCH, 9))) == (b"", state)
