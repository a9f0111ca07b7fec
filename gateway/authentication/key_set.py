"""The public keys of an issuer: a JSON Web Key Set (RFC 7517)."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import orjson
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from jwt import InvalidKeyError
from jwt.algorithms import AllowedECKeys, AllowedRSAKeys, ECAlgorithm, RSAAlgorithm

MAX_KEYS = 100
RSA_BITS = range(2048, 8193)  # below, a key is weak (RFC 7518, section 3.3); above, verification is slow
_PUBLIC_MEMBERS = ("kty", "n", "e", "crv", "x", "y")

PublicKey = RSAPublicKey | EllipticCurvePublicKey


class KeyName(NamedTuple):
    """What a token's header tells about its key. `kid`: None where it names none."""

    kid: str | None
    algorithm: str


class KeySet:
    """The keys of a set that can verify tokens, each for the one algorithm of its type.

    Two sets of the same members are equal."""

    def __init__(self, keys: dict[KeyName, PublicKey], members: list[Any]) -> None:
        self._keys = keys
        self._members = members
        self._kids = {name.kid for name in keys}

    def __len__(self) -> int:
        return len(self._keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, KeySet) and self._members == other._members

    __hash__ = None  # type: ignore[assignment]  # compared by its members, which are mutable

    def has(self, kid: str) -> bool:
        """Return whether a key of any algorithm has this id."""
        return kid in self._kids

    def find(self, name: KeyName) -> PublicKey | None:
        """Return the key for a token; without a `kid`, the only key of the set."""
        if name.kid is not None:
            return self._keys.get(name)
        if len(self._keys) != 1:
            return None
        ((only, key),) = self._keys.items()
        return key if only.algorithm == name.algorithm else None


def parse_key_set(body: bytes) -> KeySet:
    """Parse a key set. Keys of other types, curves, algorithms and uses are left out, and malformed ones too.

    Raises:
        ValueError: it is no key set, or has more than MAX_KEYS keys.
    """
    content = orjson.loads(body)
    members = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(members, list):
        raise ValueError("the response is not a JSON Web Key Set")  # noqa: TRY004 - one error for all that is malformed
    if len(members) > MAX_KEYS:
        raise ValueError(f"the key set has more than {MAX_KEYS} keys")
    keys: dict[KeyName, PublicKey] = {}
    for name, key in _usable(members):
        keys.setdefault(name, key)
    return KeySet(keys, members)


def _usable(members: list[Any]) -> Iterator[tuple[KeyName, PublicKey]]:
    for member in members:
        key = _public_key(member) if isinstance(member, dict) and _is_for_signatures(member) else None
        algorithm = _algorithm(key)
        if key is None or algorithm is None or member.get("alg", algorithm) != algorithm:
            continue
        kid = member.get("kid")
        if kid is None or isinstance(kid, str):
            yield KeyName(kid, algorithm), key


def _is_for_signatures(member: dict[str, Any]) -> bool:
    operations = member.get("key_ops", ["verify"])
    return member.get("use", "sig") == "sig" and isinstance(operations, list) and "verify" in operations


def _public_key(member: dict[str, Any]) -> PublicKey | None:
    """Return the public key of a JWK, of a private one too; None where it is malformed or of another type."""
    public = {name: member[name] for name in _PUBLIC_MEMBERS if isinstance(member.get(name), str)}
    key: AllowedRSAKeys | AllowedECKeys
    try:
        if public.get("kty") == "RSA":
            key = RSAAlgorithm.from_jwk(public)
        elif public.get("kty") == "EC":
            key = ECAlgorithm.from_jwk(public)
        else:
            return None
    except (InvalidKeyError, ValueError, TypeError):
        return None
    return key if isinstance(key, PublicKey) else None


def _algorithm(key: PublicKey | None) -> str | None:
    if isinstance(key, RSAPublicKey) and key.key_size in RSA_BITS:
        return "RS256"
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return "ES256"
    return None
