"""Sign webhooks as Standard Webhooks does.

https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md
"""

from __future__ import annotations

import base64
import hmac
from collections.abc import Sequence

MIN_SECRET_CHARACTERS = 32
MAX_SECRETS = 2


def parse_secrets(text: str) -> tuple[bytes, ...]:
    """Parse a deployment's secrets for webhooks, separated by commas, the newest first.

    Raises ValueError, whose message does not contain them."""
    secrets = tuple(part.strip() for part in text.split(",") if part.strip())
    if len(secrets) > MAX_SECRETS or any(len(secret) < MIN_SECRET_CHARACTERS for secret in secrets):
        raise ValueError(
            f"allowed: one secret of at least {MIN_SECRET_CHARACTERS} characters, or two (new,old) during a rotation"
        )
    return tuple(secret.encode() for secret in secrets)


def tenant_secret(secret: bytes, tenant: str) -> str:
    """Return the secret with which webhooks of a tenant are signed, as receivers configure it: `whsec_` and base64."""
    return f"whsec_{base64.b64encode(_key(secret, tenant)).decode()}"


def signature(secrets: Sequence[bytes], tenant: str, message_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the value of the header `webhook-signature`, with a signature for each secret of the deployment."""
    signed = b"%s.%d.%s" % (message_id.encode(), timestamp_s, body)
    macs = [hmac.digest(_key(secret, tenant), signed, "sha256") for secret in secrets]
    return " ".join(f"v1,{base64.b64encode(mac).decode()}" for mac in macs)


def _key(secret: bytes, tenant: str) -> bytes:
    return hmac.digest(secret, b"webhook\0" + tenant.encode(), "sha256")
