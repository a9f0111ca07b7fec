"""Counts the viewers of each session, tenant and address of one process, for their limits."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from holdfast.gateway.client_address import limited_address
from holdfast.shared.owner import tenant_of


class ViewerLimits(NamedTuple):
    """How many viewers one process serves. None: no limit."""

    session: int | None = None
    tenant: int | None = None
    address: int | None = None


UNLIMITED = ViewerLimits()
MAX_NAMES = 10_000  # viewers


class ViewerCounts:
    """The viewers that count towards a limit. What has no limit is not counted."""

    def __init__(self, limits: ViewerLimits) -> None:
        self._limits = limits
        self._counts: dict[str, int] = {}
        self._names = lru_cache(MAX_NAMES)(self._find_names)  # they are needed three times for each viewer

    def allows(self, session_id: str, address: str) -> bool:
        """Return whether another viewer of this session from this address is within all limits."""
        for name, limit in self._names(session_id, address):  # noqa: SIM110 - a generator takes longer
            if self._counts.get(name, 0) >= limit:
                return False
        return True

    def add(self, session_id: str, address: str) -> None:
        for name, _ in self._names(session_id, address):
            self._counts[name] = self._counts.get(name, 0) + 1

    def remove(self, session_id: str, address: str) -> None:
        for name, _ in self._names(session_id, address):
            self._counts[name] -= 1
            if not self._counts[name]:
                del self._counts[name]

    def __len__(self) -> int:
        return len(self._counts)

    def _find_names(self, session_id: str, address: str) -> tuple[tuple[str, int], ...]:
        """Return what the viewer counts as, with limits. The prefixes keep the three kinds of names apart."""
        names: list[tuple[str, int]] = []
        session, tenant, of_address = self._limits
        if session is not None:
            names.append((session_id, session))
        if tenant is not None and "/" in session_id:
            names.append((f"tenant {tenant_of(session_id)}", tenant))
        if of_address is not None and address:
            names.append((f"address {limited_address(address)}", of_address))
        return tuple(names)
