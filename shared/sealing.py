"""Encrypt what a session stores in Redis, with AES-256-GCM (NIST SP 800-38D). Pure but for random numbers.

A sealed value is `0x01`, the id of a data key (8 bytes), a nonce (12 bytes), the ciphertext and its tag (16 bytes).
JSON never begins with `0x01`, so values that were written without encryption are recognized; they do not open. Each
session has a key of its own, derived from the data key by HKDF-Expand (RFC 5869), which keeps the number of random
nonces of a key far below 2^32. The place of a value in the session is its associated data: moved elsewhere, it does not
open.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from holdfast.shared.errors import SealBroken
from holdfast.shared.master_keys import KEY_BYTES, MasterKeys

MARK = b"\x01"
_ID_BYTES = 8
_NONCE_BYTES = 12
_NONCE_AT = len(MARK) + _ID_BYTES
_TEXT_AT = _NONCE_AT + _NONCE_BYTES
OVERHEAD_BYTES = _TEXT_AT + 16  # also in scripts/session/prelude.lua


class KeyUnknown(Exception):
    """A value was sealed with a data key that is not among the known ones."""


@dataclass(frozen=True, slots=True)
class DataKey:
    """A data key of a tenant. `id`: 8 random bytes."""

    id: bytes
    secret: bytes = field(repr=False)


class SessionSeal:
    """Seals and opens the values of one session. `keys` are those of its tenant, newest first; the newest one seals."""

    __slots__ = ("_cipher", "_ciphers", "_head", "_keys", "_session_id")

    def __init__(self, session_id: str, keys: Sequence[DataKey]) -> None:
        self._session_id = session_id
        self._keys = keys
        self._head = MARK + keys[0].id
        self._ciphers: dict[bytes, AESGCM] = {}
        self._cipher = self._cipher_of(keys[0].id)

    def seal(self, place: bytes, value: bytes) -> bytes:
        """Encrypt a value for its place."""
        nonce = os.urandom(_NONCE_BYTES)
        return self._head + nonce + self._cipher.encrypt(nonce, value, place)

    def open(self, place: bytes, value: bytes) -> bytes:
        """Decrypt a value. Raises KeyUnknown, and SealBroken for one that is not sealed, too."""
        if value.startswith(self._head):  # nearly always
            cipher = self._cipher
        elif not is_sealed(value):
            raise SealBroken
        else:
            cipher = self._ciphers.get(value[1:_NONCE_AT]) or self._cipher_of(value[1:_NONCE_AT])
        try:
            return cipher.decrypt(value[_NONCE_AT:_TEXT_AT], value[_TEXT_AT:], place)
        except (InvalidTag, ValueError):  # ValueError: too short for a nonce
            raise SealBroken from None

    def _cipher_of(self, key_id: bytes) -> AESGCM:
        for key in self._keys:
            if key.id == key_id:
                info = b"holdfast session " + self._session_id.encode()
                derived = HKDFExpand(SHA256(), KEY_BYTES, info).derive(key.secret)
                cipher = self._ciphers[key_id] = AESGCM(derived)
                return cipher
        raise KeyUnknown


def is_sealed(value: bytes) -> bool:
    """Return whether a value is sealed, or pretends to be."""
    return value[:1] == MARK


def new_data_key() -> DataKey:
    """Return a random data key."""
    return DataKey(os.urandom(_ID_BYTES), os.urandom(KEY_BYTES))


def wrap(masters: MasterKeys, tenant: str, key: DataKey) -> str:
    """Encrypt a data key with the first master key. Returns the form in which it is stored."""
    master_id, master = next(iter(masters.items()))
    nonce = os.urandom(_NONCE_BYTES)
    wrapped = nonce + AESGCM(master).encrypt(nonce, key.secret, _owner(tenant, key.id))
    return f"{key.id.hex()}:{master_id}:{b64encode(wrapped).decode()}"


def unwrap(masters: MasterKeys, tenant: str, stored: str) -> DataKey | None:
    """Decrypt a stored data key. Returns None where its master key is missing or another one, and for a stored key that
    was changed or that belongs to another tenant."""
    try:
        key_id, master_id, wrapped = stored.split(":")
        raw_id, raw = bytes.fromhex(key_id), b64decode(wrapped, validate=True)
        master = AESGCM(masters[master_id])
        return DataKey(raw_id, master.decrypt(raw[:_NONCE_BYTES], raw[_NONCE_BYTES:], _owner(tenant, raw_id)))
    except (InvalidTag, KeyError, ValueError):
        return None


def _owner(tenant: str, key_id: bytes) -> bytes:
    return b"holdfast data key " + tenant.encode() + b" " + key_id
