from __future__ import annotations

from gateway.submission import session_for
from shared.ids import check_session_id


def test_the_same_key_leads_to_the_same_session() -> None:
    assert session_for("order-7") == session_for("order-7") != session_for("order-8")


def test_without_a_key_every_session_is_another() -> None:
    assert len({session_for(None) for _ in range(100)}) == 100


def test_a_derived_session_id_keeps_to_the_grammar() -> None:
    for number in range(100):
        check_session_id(session_for(f"key {number}"))
