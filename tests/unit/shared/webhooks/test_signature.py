"""The signature of a webhook."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest
from holdfast.shared.webhooks.signature import parse_secrets, signature, tenant_secret

NEW, OLD = b"n" * 32, b"o" * 32


def by_hand(secret: str, signed: bytes) -> str:
    """As the specification of Standard Webhooks has it."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    return "v1," + base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()


def test_a_signature_is_that_of_standard_webhooks() -> None:
    expected = by_hand(tenant_secret(NEW, "acme"), b'msg_1.1700000000.{"a":1}')
    assert signature([NEW], "acme", "msg_1", 1_700_000_000, b'{"a":1}') == expected


def test_while_a_secret_is_replaced_there_is_a_signature_by_each() -> None:
    signatures = signature([NEW, OLD], "acme", "msg_1", 5, b"{}").split(" ")
    assert signatures == [by_hand(tenant_secret(secret, "acme"), b"msg_1.5.{}") for secret in (NEW, OLD)]


def test_tenants_have_different_secrets() -> None:
    assert len({tenant_secret(NEW, "acme"), tenant_secret(NEW, "other"), tenant_secret(OLD, "acme")}) == 3


@pytest.mark.parametrize("text", ["private", f"{'n' * 32},private", ",".join(["private" * 5] * 3)])
def test_unusable_secrets_are_refused_and_not_shown(text: str) -> None:
    with pytest.raises(ValueError, match="32 characters") as refused:
        parse_secrets(text)
    assert "private" not in str(refused.value)


def test_secrets_are_separated_by_commas() -> None:
    assert parse_secrets(f"{'n' * 32}, {'o' * 32}") == (NEW, OLD)
    assert parse_secrets("") == ()
