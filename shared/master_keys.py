"""The master keys of a deployment, which encrypt the data keys of its tenants. Pure."""

from __future__ import annotations

import binascii
import re
from base64 import b64decode
from collections.abc import Mapping

KEY_BYTES = 32
_KEY_ID = re.compile(r"[A-Za-z0-9_.-]{1,32}")
ALLOWED = (
    "should be `<key id>:<base64 of 32 random bytes>`, several separated by commas; "
    "a key id is 1 to 32 letters, digits, `_`, `.` or `-`"
)

MasterKeys = Mapping[str, bytes]
"""Each key by its id. The first one encrypts; the others only decrypt."""


def parse_master_keys(text: str) -> MasterKeys:
    """Parse the value of HOLDFAST_ENCRYPTION_KEYS. Raises ValueError, which does not quote it."""
    found: dict[str, bytes] = {}
    for part in filter(None, (part.strip() for part in re.split(r"[,\s]+", text))):
        key_id, _, encoded = part.partition(":")
        try:
            key = b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            key = b""
        if _KEY_ID.fullmatch(key_id) is None or len(key) != KEY_BYTES:
            raise ValueError(ALLOWED)
        if key_id in found:
            raise ValueError(f"names the key {key_id} twice")
        found[key_id] = key
    if not found:
        raise ValueError(ALLOWED)
    return found
