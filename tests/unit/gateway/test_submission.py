from __future__ import annotations

import secrets

from holdfast.gateway.submission import derived_session_id
from holdfast.shared.ids import check_session_id


def test_the_same_key_leads_to_the_same_session() -> None:
    assert derived_session_id(b"secret", "order-7") == derived_session_id(b"secret", "order-7")
    assert derived_session_id(b"secret", "order-7") != derived_session_id(b"secret", "order-8")


def test_the_same_key_leads_to_another_session_in_another_deployment() -> None:
    assert derived_session_id(b"secret", "order-7") != derived_session_id(b"another", "order-7")


def test_a_derived_session_id_keeps_to_the_grammar() -> None:
    for number in range(100):
        check_session_id(derived_session_id(secrets.token_bytes(32), f"key {number}"))
