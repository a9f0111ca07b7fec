"""The sessions of threads, whose ids AG-UI leaves to its clients."""

from __future__ import annotations

import pytest
from holdfast.gateway.dialects.ag_ui.ids import MAX_ID, session_of
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.ids import check_session_id


def test_a_valid_session_id_is_the_session() -> None:
    assert session_of("thread-1_A") == "thread-1_A"


@pytest.mark.parametrize("thread_id", ["a/b", "ü", " ", "a~b", "\ud800", "a" * 129, "a" * MAX_ID, "../x", "t?x=1#y"])
def test_any_other_id_has_a_session_of_its_own(thread_id: str) -> None:
    assert check_session_id(session_of(thread_id)) == session_of(thread_id) != session_of(f"{thread_id}!"[-MAX_ID:])


@pytest.mark.parametrize("thread_id", ["", "a" * (MAX_ID + 1)])
def test_an_id_that_is_empty_or_too_long_is_refused(thread_id: str) -> None:
    with pytest.raises(RequestInvalid, match="1 to 512 characters"):
        session_of(thread_id)
