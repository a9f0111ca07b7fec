"""Ids of requests, for the field X-Request-Id and for log lines."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from itertools import count

HEADER = b"x-request-id"
_ALLOWED = re.compile(rb"[A-Za-z0-9._-]{1,64}")


class RequestIds:
    """Chooses the id of each request."""

    def __init__(self) -> None:
        self._prefix = secrets.token_hex(4)
        self._numbers = count(1)

    def of(self, headers: Sequence[tuple[bytes, bytes]]) -> str:
        """Return the id that a request has in its header fields, if it is allowed, or else a new one."""
        for name, value in headers:
            if name == HEADER and _ALLOWED.fullmatch(value):
                return value.decode()
        return self.new()

    def new(self) -> str:
        """Return an id that no other request has, of this process or another one."""
        return f"{self._prefix}-{next(self._numbers)}"
