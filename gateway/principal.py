"""Who is calling: authentication returns a Principal, whose rights every access to a session needs."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal

from starlette.types import Scope

Right = Literal["submit", "read", "stop", "answer", "delete"]


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request, who may do everything with every session.

    A subclass restricts that by `may`."""

    subject: str

    def may(self, right: Right, session_id: str) -> bool:
        """Return whether the caller has a right to this session. Without any right, the session looks nonexistent."""
        return True


ANONYMOUS = Principal("anonymous")

Authenticate = Callable[[Scope], Awaitable[Principal]]
"""Return the caller of a request, by the ASGI scope of the request (`headers`, `path`, `client`); the body is not read
yet. Raises HoldfastError to refuse it, with the status and code of the error."""


async def anonymous(scope: Scope) -> Principal:
    """Authenticate nobody: all callers are the same."""
    return ANONYMOUS


def principal_of(scope: Scope) -> Principal:
    """Return the caller of an authenticated request."""
    principal: Principal = scope["principal"]
    return principal
