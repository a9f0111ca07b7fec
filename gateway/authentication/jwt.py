"""Verifies JSON Web Tokens (RFC 7519, with the advice of RFC 8725)."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from hashlib import sha256
from typing import NamedTuple

import jwt
import orjson
from holdfast.gateway.authentication.claims import ClaimRules, Claims, check_expiry
from holdfast.gateway.authentication.jwks import JwksEndpoint
from holdfast.gateway.authentication.key_set import KeyName, KeySet, PublicKey
from holdfast.gateway.errors import Unauthenticated
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import SettingsInvalid

MAX_TOKEN_BYTES = 8192
MAX_VERIFIED = 10_000
_MALFORMED = "the token is malformed"
# RFC 7515, section 7.1. Decoders ignore other characters, and bits of the last one: a token could have many texts.
_COMPACT = re.compile(r"[\w-]+\.[\w-]+\.(?:[\w-]{4})*(?:[\w-][AQgw]|[\w-]{2}[AEIMQUYcgkosw048])?", re.ASCII)


class _Verified(NamedTuple):
    """A token that was verified. `keys`: the set of its key; None where it is the secret."""

    claims: Claims
    keys: KeySet | None


class JwtVerifier:
    """Verifies tokens of one issuer, and remembers the last MAX_VERIFIED of them until they expire.

    HS256 is accepted only with the secret, RS256 only with an RSA key and ES256 only with a P-256 key of the key set.

    Args:
        clock: seconds since 1970.
        endpoint: serves the key set; without one, it is HOLDFAST_JWT_JWKS_URL.

    Raises:
        SettingsInvalid: a setting is missing.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        clock: Callable[[], float] = time.time,
        endpoint: JwksEndpoint | None = None,
    ) -> None:
        self._rules = claim_rules(settings)
        self._clock = clock
        self._secret = settings.jwt_secret and settings.jwt_secret.get_secret_value().encode()
        url = settings.jwt_jwks_url
        self._endpoint = endpoint if endpoint or url is None else JwksEndpoint(url)
        self._jws = jwt.PyJWS(algorithms=["HS256", "RS256", "ES256"])
        self._verified: dict[bytes, _Verified] = {}

    async def aclose(self) -> None:
        """Close the connection to the issuer."""
        if self._endpoint is not None:
            await self._endpoint.aclose()

    async def verify(self, token: str) -> Claims:
        """Verify a token. Waits for the network only where the issuer's keys have to be fetched.

        Raises:
            Unauthenticated: the token is not valid. The detail says why, and quotes nothing of it.
            AuthenticationUnavailable: the issuer's keys could not be fetched yet.
        """
        if len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated(f"the token must be at most {MAX_TOKEN_BYTES} bytes")
        if _COMPACT.fullmatch(token) is None:
            raise Unauthenticated(_MALFORMED)
        digest = sha256(token.encode()).digest()
        known = self._verified.get(digest)
        if known is not None and await self._is_current(known):
            check_expiry(known.claims.expires_at, self._clock())
            return known.claims
        self._verified.pop(digest, None)
        verified = await self._verify(token)
        self._remember(digest, verified)
        return verified.claims

    async def _is_current(self, known: _Verified) -> bool:
        return known.keys is None or (self._endpoint is not None and known.keys is await self._endpoint.keys())

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        if len(self._verified) >= MAX_VERIFIED:
            del self._verified[next(iter(self._verified))]
        self._verified[digest] = verified

    async def _verify(self, token: str) -> _Verified:
        name = _key_name(token)
        if name.algorithm == "HS256" and self._secret:
            return _Verified(self._check(token, name, self._secret), None)
        if name.algorithm not in ("RS256", "ES256") or self._endpoint is None:
            raise Unauthenticated("the algorithm of the token is not allowed")
        keys = await self._endpoint.keys()
        if name.kid is not None and not keys.has(name.kid):
            keys = await self._endpoint.refetched()
        key = keys.find(name)
        if key is None:
            raise Unauthenticated(_why_no_key(keys, name))
        return _Verified(self._check(token, name, key), keys)

    def _check(self, token: str, name: KeyName, key: PublicKey | bytes) -> Claims:
        try:
            payload = self._jws.decode(token, key, algorithms=[name.algorithm])
            content = orjson.loads(payload)
        except jwt.InvalidSignatureError:
            raise Unauthenticated("the signature of the token is not valid") from None
        except (jwt.PyJWTError, ValueError):
            raise Unauthenticated(_MALFORMED) from None
        return self._rules.check(content, self._clock())


def _key_name(token: str) -> KeyName:
    """Return what the header says about the key. Keys and addresses of keys in it are ignored."""
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError):
        raise Unauthenticated(_MALFORMED) from None
    if "crit" in header:  # RFC 7515, section 4.1.11: refuse what is not understood
        raise Unauthenticated("the token has a header field `crit`, which is not supported")
    kid, algorithm = header.get("kid"), header.get("alg")
    if not isinstance(algorithm, str) or not (kid is None or isinstance(kid, str)):
        raise Unauthenticated(_MALFORMED)
    return KeyName(kid, algorithm)


def _why_no_key(keys: KeySet, name: KeyName) -> str:
    if name.kid is None and len(keys) > 1:
        return "the token must name its key by `kid`"
    if name.kid is not None and keys.has(name.kid):
        return "the algorithm of the token is not that of its key"
    return "the issuer has no such key"


def claim_rules(settings: GatewaySettings) -> ClaimRules:
    """Return what the claims of tokens must be.

    Raises:
        SettingsInvalid: a setting is missing that HOLDFAST_AUTH with `jwt` needs, or two contradict each other.
    """
    issuer, audience = settings.jwt_issuer, settings.jwt_audience
    missing = [f"HOLDFAST_JWT_{name}" for name, value in (("ISSUER", issuer), ("AUDIENCE", audience)) if value is None]
    if settings.jwt_secret is None and settings.jwt_jwks_url is None:
        missing.append("HOLDFAST_JWT_SECRET or HOLDFAST_JWT_JWKS_URL")
    if issuer is None or audience is None or missing:
        raise SettingsInvalid(f"HOLDFAST_AUTH contains jwt, which needs more settings: set {', '.join(missing)}")
    return ClaimRules(issuer, audience, settings.jwt_tenant_claim, settings.jwt_tenant, settings.jwt_leeway_seconds)
