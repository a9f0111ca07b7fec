"""Tokens and keys of an issuer, made in the test."""

from __future__ import annotations

import asyncio
import base64
import json
import string
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Self

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from holdfast.gateway.settings import GatewaySettings
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from tests.support.ports import free_port

NOW = 1_800_000_000.0
SECRET = "0123456789abcdef0123456789abcdef"
ISSUER = "https://issuer.example.com"
AUDIENCE = "holdfast"
CLAIMS: Mapping[str, Any] = {
    "iss": ISSUER,
    "aud": AUDIENCE,
    "sub": "ada",
    "tenant": "acme",
    "exp": NOW + 60,
}


def with_secret(**values: Any) -> GatewaySettings:
    """Settings for tokens with HS256."""
    return GatewaySettings(**({"jwt_secret": SECRET, "jwt_issuer": ISSUER, "jwt_audience": AUDIENCE} | values))


def with_keys(url: str, **values: Any) -> GatewaySettings:
    """Settings for tokens whose keys are at this URL."""
    return with_secret(**({"jwt_secret": None, "jwt_jwks_url": url} | values))


def b64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).decode().rstrip("=")


def sibling(token: str) -> str:
    """A token whose last character differs in bits that no byte has, and that some decoders ignore."""
    alphabet = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


def count_verifications(patch: pytest.MonkeyPatch) -> list[str]:
    """Return a list that gets every token whose signature is verified from now on."""
    verified: list[str] = []
    decode = jwt.PyJWS.decode

    def counted(self: jwt.PyJWS, token: str, *args: Any, **kwargs: Any) -> Any:
        verified.append(token)
        return decode(self, token, *args, **kwargs)

    patch.setattr(jwt.PyJWS, "decode", counted)
    return verified


def hs256(**claims: Any) -> str:
    """A token with the secret. A claim of None is left out."""
    kept = {name: value for name, value in {**CLAIMS, **claims}.items() if value is not None}
    return jwt.encode(kept, SECRET, "HS256")


@dataclass
class SigningKey:
    """A private key, the algorithm of its type, and its JWK."""

    kid: str
    algorithm: str
    private: Any

    @classmethod
    def rsa(cls, kid: str = "rsa", bits: int = 2048) -> Self:
        return cls(kid, "RS256", rsa.generate_private_key(65537, bits))

    @classmethod
    def p256(cls, kid: str = "p256") -> Self:
        return cls(kid, "ES256", ec.generate_private_key(ec.SECP256R1()))

    @property
    def jwk(self) -> dict[str, Any]:
        kind = RSAAlgorithm if self.algorithm == "RS256" else ECAlgorithm
        return {**json.loads(kind.to_jwk(self.private.public_key())), "kid": self.kid, "use": "sig"}

    def token(self, headers: Mapping[str, Any] | None = None, **claims: Any) -> str:
        """A token of this key. `headers`: in addition to `kid`, or instead of it; one of None is left out."""
        fields = {name: value for name, value in {"kid": self.kid, **(headers or {})}.items() if value is not None}
        return jwt.encode({**CLAIMS, **claims}, self.private, self.algorithm, headers=fields)


@dataclass
class Issuer:
    """A server of a key set on a port of its own: what it answers can change, and what it was asked is counted."""

    keys: list[dict[str, Any]] = field(default_factory=list)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes | None = None
    requests: int = 0
    before_answer: Callable[[], Awaitable[object]] | None = None
    url: str = ""

    async def answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request, and close."""
        await reader.readuntil(b"\r\n\r\n")
        self.requests += 1
        if self.before_answer is not None:
            await self.before_answer()
        body = json.dumps({"keys": self.keys}).encode() if self.body is None else self.body
        fields = {"Content-Length": str(len(body)), "Connection": "close", **self.headers}
        head = f"HTTP/1.1 {self.status} Answer\r\n" + "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(head.encode() + b"\r\n" + body)
        writer.close()


@asynccontextmanager
async def issuer(*keys: SigningKey) -> AsyncIterator[Issuer]:
    """Serve the public keys of an issuer."""
    served = Issuer([key.jwk for key in keys])
    port = free_port()
    server = await asyncio.start_server(served.answer, "127.0.0.1", port)
    served.url = f"http://127.0.0.1:{port}/jwks.json"
    try:
        yield served
    finally:
        server.close()
