from __future__ import annotations

import pytest
from holdfast.shared.errors import CursorInvalid, RequestInvalid
from holdfast.shared.ids import ORIGIN, EventId, check_session_id, follows, new_job_id, new_session_id, parse_cursor
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = [
    *("", " ", "$", "+", ">", "-", "*", "0", "5", "0-1", "1-1", "1763683200123", "1763683200123-", "-2"),
    *(" 1763683200123-2", "1763683200123-2 ", "1763683200123-2\n", "01763683200123-2", "1763683200123-02"),
    *("-1763683200123-2", "1763683200123-0", "1763683200123--2", "1763683200123-2-3", "1763683200123-+2"),
    *("1763683200123-12345678901", f"{2**53}-1", "1" * 400, "1763683200123-2\x00", "(1763683200123-2", "0x10-1"),
    *("１７６３６８３２００１２３-2", "1763683200123-²", "1e12-1"),
]


@pytest.mark.parametrize("text", HOSTILE)
def test_anything_but_the_grammar_is_no_cursor(text: str) -> None:
    with pytest.raises(CursorInvalid):
        parse_cursor(text)


@given(st.integers(10**12, 2**53 - 1), st.integers(1, 10**10 - 1))
def test_an_id_is_its_own_cursor(epoch: int, seq: int) -> None:
    assert parse_cursor(str(EventId(epoch, seq))) == EventId(epoch, seq)


def test_the_origin_is_a_cursor() -> None:
    assert parse_cursor("0-0") == ORIGIN


def test_ids_are_compared_as_numbers() -> None:
    assert EventId(9, 10) > EventId(9, 9)
    assert EventId(10, 1) > EventId(9, 99)


def test_an_entry_follows_by_its_seq_or_by_what_it_names() -> None:
    assert follows(EventId(5, 1), EventId(5, 2), None)
    assert not follows(EventId(5, 1), EventId(5, 3), None)
    assert not follows(EventId(5, 1), EventId(6, 2), None)
    assert follows(EventId(5, 7), EventId(6, 1), EventId(5, 7))
    assert not follows(EventId(5, 6), EventId(6, 1), EventId(5, 7))
    assert not follows(ORIGIN, EventId(6, 1), None)


@pytest.mark.parametrize("session_id", ["", "a" * 129, "a/b", "a b", "a{b}", "ä", "a\n", "a\x00"])
def test_a_session_id_outside_the_grammar_is_refused_by_name(session_id: str) -> None:
    with pytest.raises(RequestInvalid) as raised:
        check_session_id(session_id)
    assert raised.value.field == "session_id"


def test_new_ids_are_session_ids_and_do_not_repeat() -> None:
    made = {new_session_id() for _ in range(100)} | {new_job_id() for _ in range(100)}
    assert len(made) == 200
    assert all(check_session_id(name) for name in made)
