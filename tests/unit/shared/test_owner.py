"""The owner of a session in its complete id."""

from __future__ import annotations

import pytest
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.ids import check_session_id
from holdfast.shared.owner import (
    Owner,
    check_subject,
    check_tenant,
    complete_id,
    owner_of,
    public_id,
    tenant_of,
)
from holdfast.shared.queue import entry_id
from hypothesis import given
from hypothesis import strategies as st

TENANTS = st.from_regex(r"[A-Za-z0-9_.-]{1,64}", fullmatch=True)
SUBJECTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
SESSIONS = st.from_regex(r"[A-Za-z0-9_-]{1,128}", fullmatch=True)


@given(TENANTS, SUBJECTS, SESSIONS)
def test_a_complete_id_names_its_owner_and_its_session(tenant: str, subject: str, session_id: str) -> None:
    complete = complete_id(Owner(tenant, subject), session_id)
    assert (owner_of(complete), tenant_of(complete), public_id(complete)) == (
        Owner(tenant, subject),
        tenant,
        session_id,
    )


@given(TENANTS, SUBJECTS, TENANTS, SUBJECTS, SESSIONS)
def test_two_owners_never_share_a_complete_id(a: str, b: str, c: str, d: str, session_id: str) -> None:
    same = (a, b) == (c, d)
    assert (complete_id(Owner(a, b), session_id) == complete_id(Owner(c, d), session_id)) is same


@given(TENANTS, SUBJECTS, SESSIONS)
def test_a_complete_id_has_no_character_that_ends_a_hash_tag(tenant: str, subject: str, session_id: str) -> None:
    assert not set(complete_id(Owner(tenant, subject), session_id)) & set("{}")


def test_without_an_owner_the_complete_id_is_the_session_id() -> None:
    assert complete_id(None, "tea") == "tea"
    assert (owner_of("tea"), tenant_of("tea"), public_id("tea")) == (None, "", "tea")


@given(TENANTS, SUBJECTS, SESSIONS)
def test_no_client_can_choose_a_complete_id_as_a_session_id(tenant: str, subject: str, session_id: str) -> None:
    with pytest.raises(RequestInvalid):
        check_session_id(complete_id(Owner(tenant, subject), session_id))


def test_an_entry_of_an_owned_session_names_session_and_job() -> None:
    assert entry_id("acme/ann/tea", "job1").rpartition("/") == ("acme/ann/tea", "/", "job1")


@pytest.mark.parametrize("tenant", ["", "a/b", "a b", "ä", "x" * 65, "a\n"])
def test_a_tenant_with_other_characters_is_refused(tenant: str) -> None:
    with pytest.raises(RequestInvalid, match="tenant"):
        check_tenant(tenant)


@pytest.mark.parametrize("subject", ["x" * 256, "ü" * 128, "\ud800"])
def test_a_subject_above_255_bytes_is_refused(subject: str) -> None:
    with pytest.raises(RequestInvalid, match="subject"):
        check_subject(subject)
