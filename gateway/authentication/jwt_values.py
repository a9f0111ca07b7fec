"""The values of HOLDFAST_JWT_* settings, checked one by one."""

from __future__ import annotations

from urllib.parse import SplitResult, urlsplit

from holdfast.gateway.hosts import parse_host
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.owner import check_tenant
from pydantic import SecretStr

MIN_SECRET_BYTES = 32  # as long as the hash of HS256 (RFC 7518, section 3.2)


def check_secret(secret: SecretStr) -> SecretStr:
    """Return the secret. Raises ValueError if it is too short, or a public key."""
    value = secret.get_secret_value().encode()
    if len(value) < MIN_SECRET_BYTES:
        raise ValueError(f"must be at least {MIN_SECRET_BYTES} bytes, for example of `openssl rand -base64 32`")
    if b"-----BEGIN" in value or value.startswith((b"ssh-", b"ecdsa-")):
        raise ValueError("must be a shared secret, not a key in PEM or SSH format")
    return secret


def check_jwks_url(url: str) -> str:
    """Return the URL. Raises ValueError unless it is https, or http to a loopback host, without credentials."""
    parts = _split(url)
    host = None if parts is None else parse_host(parts.netloc)
    if parts is None or host is None or not (parts.scheme == "https" or (parts.scheme == "http" and host.is_loopback)):
        raise ValueError("must be a URL such as https://issuer.example.com/jwks.json; http only to a loopback host")
    return url


def _split(url: str) -> SplitResult | None:
    try:
        return urlsplit(url) if url.isascii() and url.isprintable() else None
    except ValueError:
        return None


def check_fixed_tenant(tenant: str) -> str:
    """Return the name of a tenant. Raises ValueError if it is not valid."""
    try:
        return check_tenant(tenant)
    except RequestInvalid as error:
        raise ValueError(error.detail.partition(": ")[2]) from None
