"""Tokens with the shared secret: what is accepted, and why others are refused."""

from __future__ import annotations

import json
from typing import Any

import jwt
import pytest
from holdfast.gateway.authentication import jwt as module
from holdfast.gateway.authentication.claims import Claims
from holdfast.gateway.authentication.jwt import MAX_TOKEN_BYTES, JwtVerifier
from holdfast.gateway.errors import Unauthenticated, problem
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.settings import read_settings
from hypothesis import given
from hypothesis import strategies as st

from tests.support.tokens import (
    AUDIENCE,
    CLAIMS,
    ISSUER,
    NOW,
    SECRET,
    b64,
    count_verifications,
    hs256,
    sibling,
    with_secret,
)

CLAIM_NAMES = st.sampled_from([*CLAIMS, "nbf", "iat", "scope", "rights", "x"])
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(CLAIM_NAMES, inner, max_size=9),
    max_leaves=8,
)


def verifier(now: float = NOW, **settings: Any) -> JwtVerifier:
    return JwtVerifier(with_secret(**settings), clock=lambda: now)


async def refusal(token: str, **settings: Any) -> str:
    """Why a token is refused."""
    with pytest.raises(Unauthenticated) as raised:
        await verifier(**settings).verify(token)
    assert token not in str(raised.value) or not token
    return raised.value.detail


async def test_a_valid_token_tells_tenant_subject_and_expiry() -> None:
    assert await verifier().verify(hs256()) == Claims("acme", "ada", None, NOW + 60)


class TestClaims:
    @pytest.mark.parametrize("name", ["exp", "iss", "aud", "sub", "tenant"])
    @pytest.mark.parametrize("value", [None, 7j, True, {}, [7], ""])
    async def test_each_required_claim_must_be_there_and_of_its_type(self, name: str, value: Any) -> None:
        claims = {key: kept for key, kept in {**CLAIMS, name: value}.items() if kept is not None and kept != 7j}
        if value == 7j:
            claims[name] = None  # JSON's null
        assert name in await refusal(jwt_of(claims))

    async def test_an_expired_token_is_refused_without_leeway(self) -> None:
        assert await refusal(hs256(exp=NOW), jwt_leeway_seconds=60) == "the token has expired"
        assert (await verifier().verify(hs256(exp=NOW + 0.5))).expires_at == NOW + 0.5

    @pytest.mark.parametrize("exp", ["1800000060", 1e300, -1, NOW * 1000])
    async def test_an_expiry_is_a_plausible_number_of_seconds(self, exp: Any) -> None:
        assert "`exp` must be a number of seconds" in await refusal(jwt_of({**CLAIMS, "exp": exp}))

    async def test_numbers_that_json_does_not_have_are_refused(self) -> None:
        for number in ("NaN", "Infinity", "1e999", "9" * 5000):
            payload = json.dumps(CLAIMS).replace(str(CLAIMS["exp"]), number)
            assert await refusal(signed(payload.encode()))

    async def test_nbf_and_iat_have_a_leeway(self) -> None:
        assert await verifier().verify(hs256(nbf=NOW + 10, iat=NOW + 10))
        assert await refusal(hs256(nbf=NOW + 10.5)) == "the token is not valid yet"
        assert await refusal(hs256(iat=NOW + 10.5)) == "the token was issued in the future"
        assert await refusal(hs256(nbf=NOW + 1), jwt_leeway_seconds=0) == "the token is not valid yet"
        assert "`nbf`" in await refusal(hs256(nbf="soon"))

    @pytest.mark.parametrize(
        "audience", ["other", "holdfas", "Holdfast", ["other"], [], [["holdfast"]], {"holdfast": 1}]
    )
    async def test_another_audience_is_refused(self, audience: Any) -> None:
        assert "aud" in await refusal(hs256(aud=audience))

    async def test_the_audience_may_be_one_of_several(self) -> None:
        assert await verifier().verify(hs256(aud=["other", AUDIENCE]))

    async def test_another_issuer_is_refused(self) -> None:
        assert await refusal(hs256(iss=ISSUER + "/")) == "the issuer is not allowed"

    @pytest.mark.parametrize(
        ("claims", "field"),
        [({"tenant": "a/b"}, "tenant"), ({"tenant": "x" * 65}, "tenant"), ({"sub": "é" * 128}, "subject")],
    )
    async def test_tenant_and_subject_are_checked(self, claims: dict[str, str], field: str) -> None:
        assert field in await refusal(hs256(**claims))

    async def test_the_tenant_may_be_in_another_claim_or_fixed(self) -> None:
        token = hs256(**{"https://example.com/org": "globex"})
        assert (await verifier(jwt_tenant_claim="https://example.com/org").verify(token)).tenant == "globex"
        assert (await verifier(jwt_tenant="only").verify(hs256(tenant=None))).tenant == "only"

    @pytest.mark.parametrize(
        ("claims", "rights"),
        [
            ({"scope": "read submit  openid"}, {"read", "submit"}),
            ({"scope": "openid email"}, None),
            ({"scope": ""}, set()),
            ({"rights": ["read", "stop"], "scope": "openid"}, {"read", "stop"}),
            ({"rights": []}, set()),
            ({"rights": ["reed"]}, set()),
            ({"rights": ["read", "reed"]}, {"read"}),
            ({}, None),
        ],
    )
    async def test_rights_are_those_of_the_claim(self, claims: dict[str, Any], rights: set[str] | None) -> None:
        assert (await verifier().verify(hs256(**claims))).rights == rights

    @pytest.mark.parametrize("claims", [{"scope": ["read"]}, {"scope": 1}, {"rights": "read"}, {"rights": ["a"] * 101}])
    async def test_rights_of_another_form_are_refused(self, claims: dict[str, Any]) -> None:
        assert "`rights`" in await refusal(hs256(**claims))


class TestTokens:
    async def test_a_token_of_another_secret_is_refused(self) -> None:
        assert "signature" in await refusal(jwt.encode(dict(CLAIMS), SECRET[::-1], "HS256"))

    @pytest.mark.parametrize("alg", ["none", "None", "", "HS384", "RS256", None, 7, ["HS256"]])
    async def test_no_other_algorithm_is_accepted(self, alg: Any) -> None:
        _, payload, signature = hs256().split(".")
        fields = json.dumps({"alg": alg, "typ": "JWT"}).encode()
        for end in (signature, ""):
            await refusal(f"{b64(fields)}.{payload}.{end}")

    async def test_critical_header_fields_are_refused(self) -> None:
        critical: list[dict[str, Any]] = [{"crit": ["exp"], "exp": 1}, {"crit": []}, {"crit": ["b64"], "b64": True}]
        for headers in critical:
            await refusal(signed(json.dumps(CLAIMS).encode(), headers))

    async def test_a_token_above_8_kib_is_refused_unread(self) -> None:
        longest = 5800
        while len(hs256(pad="x" * (longest + 1))) <= MAX_TOKEN_BYTES:
            longest += 1
        assert await verifier().verify(hs256(pad="x" * longest))
        assert "8192 bytes" in await refusal(hs256(pad="x" * (longest + 1)))

    async def test_a_token_has_one_text(self) -> None:
        token = hs256()
        subject = verifier()
        await subject.verify(token)
        for text in (f"{token}=", f"{token}==", f"{token[:-9]}!{token[-9:]}", f"{token}.", f" {token}", sibling(token)):
            with pytest.raises(Unauthenticated):
                await subject.verify(text)

    async def test_deep_nesting_is_refused_or_ignored(self) -> None:
        deep = "[" * 2500 + "]" * 2500
        await refusal(signed(json.dumps(CLAIMS)[:-1].encode() + f',"x":{deep}}}'.encode()))
        await refusal(f"{b64(deep.encode())}.{b64(b'{}')}.AA")

    @given(st.text(max_size=200) | st.binary(max_size=300).map(lambda raw: f"{b64(raw)}.{b64(raw)}.{b64(raw)}"))
    async def test_any_text_is_refused_alike(self, token: str) -> None:
        with pytest.raises(Unauthenticated):
            await verifier().verify(token)

    @given(ANY_JSON, st.booleans())
    async def test_any_signed_content_is_accepted_or_refused(self, content: Any, valid_base: bool) -> None:
        if valid_base and isinstance(content, dict):
            content = {**CLAIMS, **content}
        try:
            claims = await verifier().verify(signed(json.dumps(content).encode()))
        except Unauthenticated:
            return
        assert claims.tenant
        assert claims.subject
        assert claims.expires_at > NOW


class TestCache:
    async def test_a_token_is_verified_once(self, monkeypatch: pytest.MonkeyPatch) -> None:
        subject, verified = verifier(), count_verifications(monkeypatch)
        for _ in range(2):
            assert (await subject.verify(hs256())).subject == "ada"
        assert len(verified) == 1

    async def test_a_remembered_token_expires(self) -> None:
        now = NOW
        subject = JwtVerifier(with_secret(), clock=lambda: now)
        await subject.verify(hs256())
        now = NOW + 60
        with pytest.raises(Unauthenticated, match="expired"):
            await subject.verify(hs256())

    async def test_the_oldest_token_is_forgotten(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "MAX_VERIFIED", 2)
        subject, verified = verifier(), count_verifications(monkeypatch)
        first, second, third = (hs256(sub=name) for name in "abc")
        for token in (first, second, third, third, second, first):
            await subject.verify(token)
        assert verified == [first, second, third, first]


class TestSettings:
    @pytest.mark.parametrize("missing", ["issuer", "audience", "secret"])
    def test_a_missing_setting_is_named_in_one_line(self, missing: str) -> None:
        with pytest.raises(SettingsInvalid, match=f"set HOLDFAST_JWT_{missing.upper()}") as raised:
            JwtVerifier(with_secret(**{f"jwt_{missing}": None}))
        assert "\n" not in str(raised.value)

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("SECRET", "x" * 31),
            ("SECRET", "-----BEGIN PUBLIC KEY-----\nabcdefghijklmnop"),
            ("JWKS_URL", "http://issuer.example.com/jwks"),
            ("JWKS_URL", "https://user:word@issuer.example.com/jwks"),
            ("JWKS_URL", "file:///etc/passwd"),
            ("JWKS_URL", "https://[::1"),
            ("TENANT", "a b"),
            ("LEEWAY_SECONDS", "61"),
        ],
    )
    def test_a_bad_value_is_refused_at_the_start(self, monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
        monkeypatch.setenv(f"HOLDFAST_JWT_{name}", value)
        with pytest.raises(SettingsInvalid, match=f"HOLDFAST_JWT_{name}") as raised:
            read_settings(GatewaySettings)
        assert name == "LEEWAY_SECONDS" or value not in str(raised.value)

    def test_the_secret_is_not_shown(self) -> None:
        assert SECRET not in repr(with_secret())


def test_the_response_says_how_to_authenticate() -> None:
    assert (
        problem(Unauthenticated("the token has expired")).headers["www-authenticate"] == 'Bearer error="invalid_token"'
    )
    assert problem(Unauthenticated()).headers["www-authenticate"] == 'Bearer realm="holdfast"'
    assert problem(Unauthenticated()).status_code == 401


def jwt_of(claims: dict[str, Any]) -> str:
    return signed(json.dumps(claims).encode())


def signed(payload: bytes, headers: dict[str, Any] | None = None) -> str:
    """A token with any content, whose signature is valid."""
    content = b64(json.dumps({"alg": "HS256", **(headers or {})}).encode()) + "." + b64(payload)
    algorithm = jwt.get_algorithm_by_name("HS256")
    return content + "." + b64(algorithm.sign(content.encode(), SECRET.encode()))
