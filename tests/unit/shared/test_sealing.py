"""Sealed values: what opens them, and that nothing else does."""

from __future__ import annotations

import pytest
from holdfast.shared.errors import SealBroken
from holdfast.shared.scripts import source
from holdfast.shared.sealing import (
    MARK,
    OVERHEAD_BYTES,
    KeyUnknown,
    SessionSeal,
    new_data_key,
    unwrap,
    wrap,
)

KEY, OTHER_KEY = new_data_key(), new_data_key()
MASTERS = {"m1": bytes(32), "m2": bytes(range(32))}


def test_a_sealed_value_opens_at_its_place_and_shows_nothing_of_itself() -> None:
    seal = SessionSeal("s", [KEY])
    sealed = seal.seal(b"j1 input", b'"the secret"')
    assert sealed[:1] == MARK
    assert b"secret" not in sealed
    assert len(sealed) == len(b'"the secret"') + OVERHEAD_BYTES
    assert SessionSeal("s", [KEY]).open(b"j1 input", sealed) == b'"the secret"'


def test_equal_values_are_sealed_differently() -> None:
    seal = SessionSeal("s", [KEY])
    assert seal.seal(b"p", b"1") != seal.seal(b"p", b"1")


@pytest.mark.parametrize(("session_id", "place"), [("s", b"j2 input"), ("s", b"j1 options"), ("t", b"j1 input")])
def test_a_value_that_was_moved_does_not_open(session_id: str, place: bytes) -> None:
    sealed = SessionSeal("s", [KEY]).seal(b"j1 input", b"1")
    with pytest.raises(SealBroken):
        SessionSeal(session_id, [KEY]).open(place, sealed)


def test_no_changed_or_cut_value_opens() -> None:
    seal = SessionSeal("s", [KEY])
    sealed = seal.seal(b"p", b"12")
    for at in range(1, len(sealed)):
        changed = sealed[:at] + bytes([sealed[at] ^ 1]) + sealed[at + 1 :]
        with pytest.raises((SealBroken, KeyUnknown)):
            seal.open(b"p", changed)
        with pytest.raises((SealBroken, KeyUnknown)):
            seal.open(b"p", sealed[:at])


@pytest.mark.parametrize("value", [b'{"type":"x"}', b""])
def test_a_value_that_is_not_sealed_does_not_open(value: bytes) -> None:
    with pytest.raises(SealBroken):
        SessionSeal("s", [KEY]).open(b"p", value)


def test_older_keys_open_and_the_newest_one_seals() -> None:
    old = SessionSeal("s", [KEY]).seal(b"p", b"1")
    seal = SessionSeal("s", [OTHER_KEY, KEY])
    assert seal.open(b"p", old) == b"1"
    with pytest.raises(KeyUnknown):
        SessionSeal("s", [KEY]).open(b"p", seal.seal(b"p", b"1"))


def test_a_data_key_is_stored_encrypted_by_the_first_master_key() -> None:
    stored = wrap(MASTERS, "acme", KEY)
    assert KEY.secret.hex() not in stored
    assert unwrap({"m1": MASTERS["m1"]}, "acme", stored) == KEY
    assert unwrap({"m2": MASTERS["m2"]}, "acme", stored) is None


@pytest.mark.parametrize("tenant", ["acme", "acme2"])
def test_a_stored_data_key_opens_for_its_tenant_alone(tenant: str) -> None:
    assert (unwrap(MASTERS, tenant, wrap(MASTERS, "acme", KEY)) == KEY) == (tenant == "acme")


@pytest.mark.parametrize("stored", ["", "x", "00:m1:!", "zz:m1:AAAA", "a:b:c:d"])
def test_a_stored_data_key_that_is_none_opens_nothing(stored: str) -> None:
    assert unwrap(MASTERS, "acme", stored) is None


def test_another_master_key_under_the_same_id_opens_nothing() -> None:
    assert unwrap({"m1": MASTERS["m2"]}, "acme", wrap(MASTERS, "acme", KEY)) is None


def test_a_data_key_is_not_in_its_repr() -> None:
    assert repr(KEY.secret) not in repr(KEY)


def test_the_scripts_know_the_size_of_a_seal() -> None:
    assert f"local SEAL_BYTES = {OVERHEAD_BYTES} " in source("session", "finish")
