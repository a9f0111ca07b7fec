"""The session of a chat."""

from __future__ import annotations

import pytest
from holdfast.gateway.dialects.ai_sdk.chat_ids import MAX_CHAT_ID, job_of_run, run_id, session_of
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.ids import check_session_id


def test_a_valid_session_id_is_the_session() -> None:
    assert session_of("tea-talk_1") == "tea-talk_1"


@pytest.mark.parametrize("chat_id", ["a b", "täglich", "a/b", "a~b~c", "x" * 200, "\ud800", ".."])
def test_any_other_id_has_a_session_of_its_own(chat_id: str) -> None:
    assert check_session_id(session_of(chat_id)) == session_of(chat_id)
    assert session_of(chat_id) != session_of(f"{chat_id} ")


@pytest.mark.parametrize("chat_id", ["", "x" * (MAX_CHAT_ID + 1), "a~b"])
def test_an_id_has_a_length_and_is_not_a_run_id(chat_id: str) -> None:
    with pytest.raises(RequestInvalid):
        session_of(chat_id)


def test_a_run_id_names_a_job_of_a_session() -> None:
    assert job_of_run(run_id("s-1", "j_1")) == ("s-1", "j_1")
    assert job_of_run("s-1") is None
    assert job_of_run("a b~c") is None
