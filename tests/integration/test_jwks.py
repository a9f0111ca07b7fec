"""Tokens whose keys an issuer serves: rotation, outages, unknown keys, and the wrong key for an algorithm."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from functools import cache
from typing import Any

import jwt
import pytest
import structlog
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from holdfast.gateway.authentication.jwks import STALE_S, JwksEndpoint, lifetime_s
from holdfast.gateway.authentication.jwt import JwtVerifier
from holdfast.gateway.authentication.key_set import KeyName, parse_key_set
from holdfast.gateway.errors import AuthenticationUnavailable, Unauthenticated
from jwt.algorithms import ECAlgorithm

from tests.support.process import until
from tests.support.tokens import (
    CLAIMS,
    NOW,
    SECRET,
    Issuer,
    SigningKey,
    b64,
    count_verifications,
    hs256,
    issuer,
    with_keys,
)


@cache
def rsa_key(kid: str = "rsa") -> SigningKey:
    return SigningKey.rsa(kid)


@cache
def p256_key(kid: str = "p256") -> SigningKey:
    return SigningKey.p256(kid)


class Stage:
    """An issuer, a verifier of its tokens, and the monotonic time that passes only here."""

    def __init__(self, served: Issuer, **settings: Any) -> None:
        self.issuer = served
        self.now = 0.0
        self._endpoint = JwksEndpoint(served.url, clock=lambda: self.now)
        settings_ = with_keys(served.url, **settings)
        self.verifier = JwtVerifier(settings_, clock=lambda: NOW, endpoint=self._endpoint)

    @property
    def fetched(self) -> bool:
        """Whether no fetch is under way."""
        return not self._endpoint.is_refreshing

    async def subject(self, token: str) -> str:
        return (await self.verifier.verify(token)).subject

    async def refusal(self, token: str) -> str:
        with pytest.raises(Unauthenticated) as raised:
            await self.verifier.verify(token)
        return raised.value.detail


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with issuer(rsa_key(), p256_key()) as served:
        stage = Stage(served)
        yield stage
        await stage.verifier.aclose()


class TestKeys:
    async def test_both_types_of_keys_are_fetched_once(self, stage: Stage) -> None:
        tokens = [key.token(sub=str(n)) for n in range(20) for key in (rsa_key(), p256_key())]
        assert await asyncio.gather(*map(stage.subject, tokens)) == [str(n) for n in range(20) for _ in range(2)]
        assert stage.issuer.requests == 1

    async def test_a_rotated_key_is_fetched_when_a_token_names_it(self, stage: Stage) -> None:
        await stage.subject(rsa_key().token())
        stage.issuer.keys.append(p256_key("next").jwk)
        assert await stage.subject(p256_key("next").token()) == "ada"
        assert stage.issuer.requests == 2

    async def test_tokens_of_a_removed_key_are_refused_after_the_lifetime(self, stage: Stage) -> None:
        stage.issuer.headers["Cache-Control"] = "public, max-age=300"
        await stage.subject(rsa_key().token())
        stage.issuer.keys = [p256_key().jwk]
        stage.now = 299.9
        assert await stage.subject(rsa_key().token()) == "ada"
        stage.now = 300
        assert await stage.subject(rsa_key().token()) == "ada"  # the set is fetched meanwhile
        await until(lambda: stage.fetched)
        assert await stage.refusal(rsa_key().token()) == "the issuer has no such key"

    async def test_a_set_does_not_answer_long_after_its_lifetime(self, stage: Stage) -> None:
        await stage.subject(rsa_key().token())
        stage.issuer.keys = [p256_key().jwk]
        stage.now = 600 + STALE_S
        assert await stage.refusal(rsa_key().token()) == "the issuer has no such key"

    async def test_the_same_keys_again_leave_verified_tokens_remembered(
        self, stage: Stage, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        token, verified = rsa_key().token(), count_verifications(monkeypatch)
        await stage.subject(token)
        stage.now = 601
        assert await stage.subject(token) == "ada"
        await until(lambda: stage.fetched)
        assert await stage.subject(token) == "ada"
        assert stage.issuer.requests == 2
        assert len(verified) == 1

    async def test_a_storm_of_unknown_keys_causes_one_fetch_a_minute(self, stage: Stage) -> None:
        await stage.subject(rsa_key().token())
        for minute in (1, 2):
            storm = (stage.refusal(rsa_key().token({"kid": f"{minute}-{n}"})) for n in range(200))
            assert set(await asyncio.gather(*storm)) == {"the issuer has no such key"}
            await stage.refusal(rsa_key().token({"kid": f"{minute}-late"}))
            assert stage.issuer.requests == 1 + minute
            stage.now += 60

    async def test_a_token_names_its_key_where_there_are_several(self, stage: Stage) -> None:
        assert "`kid`" in await stage.refusal(rsa_key().token({"kid": None}))
        assert stage.issuer.requests == 1

    async def test_an_only_key_needs_no_name(self) -> None:
        async with issuer(p256_key()) as served:
            stage = Stage(served)
            assert await stage.subject(p256_key().token({"kid": None})) == "ada"
            assert "no such key" in await stage.refusal(rsa_key().token({"kid": None}))
            await stage.verifier.aclose()


class TestConfusion:
    async def test_a_public_key_is_no_secret(self, stage: Stage) -> None:
        await stage.subject(rsa_key().token())
        public = rsa_key().private.public_key()
        for form in (serialization.Encoding.PEM, serialization.Encoding.DER):
            secret = public.public_bytes(form, serialization.PublicFormat.SubjectPublicKeyInfo)
            head = b64(json.dumps({"alg": "HS256", "kid": "rsa"}).encode()) + "." + b64(json.dumps(CLAIMS).encode())
            token = f"{head}.{b64(jwt.get_algorithm_by_name('HS256').sign(head.encode(), secret))}"
            assert "algorithm" in await stage.refusal(token)

    async def test_a_key_is_for_the_algorithm_of_its_type(self, stage: Stage) -> None:
        assert "not that of its key" in await stage.refusal(p256_key().token({"kid": "rsa"}))
        assert "not that of its key" in await stage.refusal(rsa_key().token({"kid": "p256"}))
        for algorithm in ("RS512", "PS256"):
            token = jwt.encode(dict(CLAIMS), rsa_key().private, algorithm, headers={"kid": "rsa"})
            assert "algorithm" in await stage.refusal(token)
        assert stage.issuer.requests == 1

    async def test_a_key_within_the_token_is_ignored(self, stage: Stage) -> None:
        stranger = SigningKey.p256("p256")
        headers = {"jwk": stranger.jwk, "jku": stage.issuer.url, "x5u": stage.issuer.url}
        assert "signature" in await stage.refusal(stranger.token(headers))

    async def test_keys_and_a_secret_can_be_used_together(self) -> None:
        async with issuer(p256_key()) as served:
            stage = Stage(served, jwt_secret=SECRET)
            assert await stage.subject(hs256()) == "ada"
            assert served.requests == 0
            assert await stage.subject(p256_key().token()) == "ada"
            await stage.verifier.aclose()


class TestOutages:
    async def test_the_last_keys_stay_in_use_while_the_endpoint_fails(self, stage: Stage) -> None:
        await stage.subject(rsa_key().token())
        stage.issuer.status, stage.now = 500, 600
        with structlog.testing.capture_logs() as logs:
            assert await stage.subject(rsa_key().token()) == "ada"
            await until(lambda: stage.fetched)
            for _ in range(20):
                stage.now += 0.04
                assert await stage.subject(rsa_key().token(sub="bo")) == "bo"
            assert stage.issuer.requests == 2
            stage.now = 601
            assert await stage.subject(rsa_key().token()) == "ada"  # fetches in the background
            await until(lambda: stage.issuer.requests == 3)
            stage.issuer.status, stage.now = 200, 700

            async def recovered() -> bool:
                await stage.subject(rsa_key().token())
                return len(logs) > 1

            await until(recovered)
        assert [line["log_level"] for line in logs] == ["warning", "info"]

    async def test_without_any_keys_the_gateway_cannot_tell(self, stage: Stage) -> None:
        stage.issuer.status = 404
        for _ in range(3):
            with pytest.raises(AuthenticationUnavailable):
                await stage.verifier.verify(rsa_key().token())
        assert stage.issuer.requests == 1
        stage.issuer.status, stage.now = 200, 1
        assert await stage.subject(rsa_key().token()) == "ada"

    @pytest.mark.parametrize(
        "change",
        [
            {"body": b"<html>"},
            {"body": b"[]"},
            {"body": b'{"keys":{}}'},
            {"body": b'{"keys":[' + b",".join([b"{}"] * 101) + b"]}"},
            {"body": b" " * 65_537},
            {"status": 302, "headers": {"Location": "/jwks.json"}},
            {"headers": {"Content-Length": "100000"}},
        ],
    )
    async def test_a_response_that_cannot_be_used_is_an_outage(self, stage: Stage, change: dict[str, Any]) -> None:
        await stage.subject(rsa_key().token())
        for name, value in change.items():
            setattr(stage.issuer, name, value)
        stage.now = 600
        assert await stage.subject(rsa_key().token()) == "ada"
        await until(lambda: stage.fetched)
        assert await stage.subject(rsa_key().token()) == "ada"
        assert stage.issuer.requests == 2

    async def test_valid_tokens_do_not_wait_for_an_endpoint_that_hangs(self, stage: Stage) -> None:
        await stage.subject(rsa_key().token())
        released = asyncio.Event()
        stage.issuer.before_answer, stage.now = released.wait, 600
        for number in range(20):
            assert await stage.subject(rsa_key().token(sub=str(number))) == str(number)
        await until(lambda: stage.issuer.requests == 2)
        assert not stage.fetched
        released.set()
        await until(lambda: stage.fetched)

    async def test_a_slow_endpoint_holds_up_nobody_but_those_who_wait_for_it(self, stage: Stage) -> None:
        released = asyncio.Event()
        await stage.subject(rsa_key().token())
        stage.issuer.before_answer = released.wait
        waiting = asyncio.create_task(stage.subject(rsa_key().token({"kid": "next"})))
        await until(lambda: stage.issuer.requests == 2)
        assert await stage.subject(rsa_key().token(sub="bo")) == "bo"
        waiting.cancel()  # a client that leaves ends no fetch that others wait for
        stage.issuer.keys.append(p256_key("next").jwk)
        other = asyncio.create_task(stage.subject(p256_key("next").token()))
        released.set()
        assert await other == "ada"
        assert stage.issuer.requests == 2


class TestKeySets:
    def usable(self, **changes: Any) -> int:
        jwk = {name: value for name, value in {**rsa_key().jwk, **changes}.items() if value is not None}
        return len(parse_key_set(json.dumps({"keys": [jwk]}).encode()))

    def test_a_key_is_used_only_for_what_it_is_meant_for(self) -> None:
        assert self.usable() == self.usable(alg="RS256") == self.usable(use=None, key_ops=["verify"]) == 1
        for change in ({"use": "enc"}, {"key_ops": ["encrypt"]}, {"alg": "RS512"}, {"alg": "HS256"}, {"kid": 7}):
            assert self.usable(**change) == 0

    def test_a_malformed_key_leaves_the_others_usable(self) -> None:
        p384 = json.loads(ECAlgorithm.to_jwk(ec.generate_private_key(ec.SECP384R1()).public_key()))
        off_curve = {**p256_key().jwk, "y": p256_key().jwk["x"]}
        odd = [p384, off_curve, {"kty": "oct", "k": b64(b"x" * 32)}, {"kty": "RSA"}, 7, None, {"kty": ["RSA"]}]
        odd += [{**rsa_key().jwk, "n": n} for n in ("AQ", "!", 7, "")]
        odd += [SigningKey.rsa("weak", 1024).jwk]
        keys = parse_key_set(json.dumps({"keys": [*odd, p256_key().jwk]}).encode())
        assert len(keys) == 1
        assert keys.find(KeyName("p256", "ES256")) is not None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("", 600),
        ("max-age=300, public", 300),
        ('public,max-age="300"', 300),
        ("max-age=0", 60),
        ("max-age=999999999", 86_400),
        ("s-maxage=5", 600),
        ("max-age=-1", 600),
        ("no-store, max-age=600", 60),
    ],
)
def test_the_lifetime_of_a_set_is_bounded(header: str, seconds: float) -> None:
    assert lifetime_s(header) == seconds
