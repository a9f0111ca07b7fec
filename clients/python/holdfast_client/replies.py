"""What the gateway answered, or that it did not. Free of I/O."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from .errors import ProtocolError, Refused

# Statuses of a gateway, or of a proxy in front of it, that another try may not get.
TRANSIENT = frozenset({408, 425, 429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete response. Names of `headers` are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> dict[str, Any]:
        """Return the body. Raises ProtocolError."""
        try:
            content = json.loads(self.body)
        except ValueError:
            content = None
        if not isinstance(content, dict):
            raise ProtocolError(f"the response {self.status} is not a JSON object; is this the address of a gateway?")
        return content

    def refusal(self) -> Refused:
        """Return the error that this response stands for."""
        try:
            problem = self.json()
        except ProtocolError:
            problem = {}
        code, detail, field = (problem.get(name) for name in ("code", "detail", "field"))
        return Refused(self.status, code, str(detail or f"the response is {self.status}"), field)

    @property
    def retry_after_s(self) -> float:
        """The seconds of `Retry-After`, 0 without. A gateway does not use its form with a date."""
        value = self.headers.get("retry-after", "")
        return float(value[:10]) if value.isascii() and value.isdigit() else 0.0


@dataclass(frozen=True, slots=True)
class NoReply:
    """The connection failed. `sent`: whether the request may have reached the gateway."""

    reason: str
    sent: bool
