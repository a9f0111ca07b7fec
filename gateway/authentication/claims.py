"""The claims of a token (RFC 7519, section 4), checked."""

from __future__ import annotations

from collections.abc import Mapping
from math import isfinite
from typing import Any, NamedTuple

from holdfast.gateway.errors import Unauthenticated
from holdfast.gateway.principal import RIGHTS, Right
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.owner import check_subject, check_tenant

MAX_RIGHTS = 100
LATEST = 253_402_300_799  # the end of the year 9999


class Claims(NamedTuple):
    """What a verified token says.

    Args:
        tenant: valid by `check_tenant`.
        subject: 1 to 255 bytes of UTF-8.
        rights: those that the claim `rights` (a list) names or, without that, `scope` (RFC 8693, section 4.2: separated
            by spaces); None where the token has neither, and where all words of `scope` are those of others, such as
            `openid`.
        expires_at: seconds since 1970.
    """

    tenant: str
    subject: str
    rights: frozenset[Right] | None
    expires_at: float


class ClaimRules(NamedTuple):
    """What the claims of every token must be.

    Args:
        tenant_claim: the claim that names the tenant. Not read where `tenant`, the only one, is given.
        leeway_s: by how much the issuer's clock may be ahead, for `nbf` and `iat`. `exp` has none.
    """

    issuer: str
    audience: str
    tenant_claim: str
    tenant: str | None
    leeway_s: float

    def check(self, content: Any, now: float) -> Claims:
        """Check the content of a token whose signature is valid.

        Args:
            now: seconds since 1970.

        Raises:
            Unauthenticated: a claim is missing, malformed or not allowed. The detail names it and quotes no value.
        """
        if not isinstance(content, dict):
            raise Unauthenticated("the token is malformed")
        expires_at = self._check_times(content, now)
        if _text(content, "iss") != self.issuer:
            raise Unauthenticated("the issuer is not allowed")
        if self.audience not in _audiences(content):
            raise Unauthenticated("the audience is not allowed")
        tenant = self.tenant or _text(content, self.tenant_claim)
        try:
            return Claims(check_tenant(tenant), check_subject(_text(content, "sub")), _rights(content), expires_at)
        except RequestInvalid as error:
            raise Unauthenticated(f"the claim of the {error.field} {error.detail.partition(': ')[2]}") from None

    def _check_times(self, content: Mapping[str, Any], now: float) -> float:
        expires_at = _time(content, "exp")
        if expires_at is None:
            raise Unauthenticated("the token must have a claim `exp`")
        check_expiry(expires_at, now)
        if (_time(content, "nbf") or 0) > now + self.leeway_s:
            raise Unauthenticated("the token is not valid yet")
        if (_time(content, "iat") or 0) > now + self.leeway_s:
            raise Unauthenticated("the token was issued in the future")
        return expires_at


def check_expiry(expires_at: float, now: float) -> None:
    """Raise Unauthenticated unless this time is in the future."""
    if expires_at <= now:
        raise Unauthenticated("the token has expired")


def _time(content: Mapping[str, Any], name: str) -> float | None:
    """Return a NumericDate; None without the claim."""
    if name not in content:
        return None
    value = content[name]
    if type(value) not in (int, float) or not isfinite(value) or not 0 <= value <= LATEST:
        raise Unauthenticated(f"the claim `{name}` must be a number of seconds since 1970")
    return float(value)


def _text(content: Mapping[str, Any], name: str) -> str:
    value = content.get(name)
    if not isinstance(value, str) or not value:
        raise Unauthenticated(f"the token must have a claim `{name}`, a text")
    return value


def _audiences(content: Mapping[str, Any]) -> list[Any]:
    value = content.get("aud")
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return value
    raise Unauthenticated("the token must have a claim `aud`, a text or a list of texts")


def _rights(content: Mapping[str, Any]) -> frozenset[Right] | None:
    rights, scope = content.get("rights"), content.get("scope")
    if rights is None and scope is None:
        return None
    words = scope.split() if rights is None and isinstance(scope, str) else rights
    if not isinstance(words, list) or len(words) > MAX_RIGHTS or not all(isinstance(word, str) for word in words):
        raise Unauthenticated(f"`scope` must be a text and `rights` a list of texts, of at most {MAX_RIGHTS} words")
    named = RIGHTS.intersection(words)
    return None if rights is None and words and not named else named
