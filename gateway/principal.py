"""Who is calling: authentication returns a Principal, whose rights every access to a session needs."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, get_args

from holdfast.shared.errors import HoldfastError, SessionUnknown
from holdfast.shared.owner import Owner, complete_id
from starlette.types import Scope

Right = Literal["submit", "read", "stop", "answer", "delete", "ticket", "observe", "operate"]
RIGHTS: frozenset[Right] = frozenset(get_args(Right))


class Forbidden(HoldfastError):
    """The caller may not do this, whatever exists."""

    code = "forbidden"
    status = 403
    title = "These credentials do not allow this"


@dataclass(frozen=True, slots=True)
class Principal:
    """The caller of one request, who may use the sessions of one owner.

    Args:
        owner: None without authentication: all callers share all sessions.
        expires_at: in seconds since 1970.
        session: the complete id of the only session that a ticket is for; None for all sessions of the owner.
        key_id: the API key that the credentials are, or were made with; its revocation ends them.
        series: that of a ticket for one session, see shared/log/ticket_series.py.
        session_deleted: the ticket's session was deleted within the last minute: only `session.deleted` may be read.
        issued_at: when a ticket was made, in seconds since 1970; tickets made before a revocation are void.
        renewable_until: up to when a ticket may be renewed, in seconds since 1970.
        agents, models: what the caller's tenant may use; None: everything on offer.
    """

    owner: Owner | None = None
    rights: frozenset[Right] = RIGHTS
    expires_at: float = math.inf
    session: str | None = None
    key_id: str | None = None
    issued_at: float = math.inf
    renewable_until: float = 0
    series: str = ""
    session_deleted: bool = False
    agents: frozenset[str] | None = None
    models: frozenset[str] | None = None

    def complete(self, session_id: str) -> str:
        """Return the complete id of a session that the caller names.

        Raises SessionUnknown for another session than that of a ticket."""
        complete = complete_id(self.owner, session_id)
        if self.session is not None and self.session != complete:
            raise SessionUnknown
        return complete

    def check(self, right: Right) -> None:
        """Raise Forbidden without this right."""
        if right not in self.rights:
            raise Forbidden(f"The right `{right}` is needed")

    def check_observer(self) -> None:
        """Raise Forbidden without the right to see the whole deployment, which operators have too."""
        if "operate" not in self.rights:
            self.check("observe")

    def may_use(self, agent: str) -> bool:
        """Return whether the caller's tenant may use an agent. Otherwise it looks nonexistent."""
        return self.agents is None or agent in self.agents


ANONYMOUS = Principal()

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
