"""The data keys that a process has decrypted, and the seals of sessions made of them.

A key is cached while Redis confirms it every REFRESH_SECONDS; without a confirmation for longer, or once it was
deleted, it is dropped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import Context
from functools import partial
from typing import TypeVar, overload

import structlog
from holdfast.shared.background import repeat
from holdfast.shared.data_keys import DataKeys
from holdfast.shared.errors import DataKeyGone, MasterKeyMissing, SealBroken
from holdfast.shared.log import sealed_entries
from holdfast.shared.log.sealed_entries import Reply
from holdfast.shared.master_keys import MasterKeys
from holdfast.shared.owner import tenant_of
from holdfast.shared.redis.client import Redis
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.sealing import DataKey, KeyUnknown, SessionSeal, is_sealed
from holdfast.shared.telemetry import Once

REFRESH_SECONDS = 10.0
CONFIRMED_SECONDS = 15.0
FORGOTTEN_SECONDS = 30.0  # after so long no process has a deleted key: a refresh, and a server that does not answer
IDLE_REFRESHES = 30  # drop the keys of a tenant that was not used for so many of them
CACHED_SEALS = 10_000  # of one tenant

Opened = TypeVar("Opened")

log = structlog.get_logger()


class TenantKeys:
    """The decrypted data keys of one tenant, of which `known` lists the newest first and None stands for one whose
    master key is missing."""

    __slots__ = ("_known", "_seals", "idle", "stored")

    def __init__(self, stored: str, known: Sequence[DataKey | None]) -> None:
        self.stored = stored
        self.idle = 0
        self._known = known
        self._seals: dict[str, SessionSeal] = {}

    @property
    def can_seal(self) -> bool:
        """Whether the newest key is known."""
        return bool(self._known) and self._known[0] is not None

    @property
    def is_complete(self) -> bool:
        """Whether all keys are known."""
        return None not in self._known

    def seal_of(self, session_id: str) -> SessionSeal:
        """Return the seal of a session. Raises KeyUnknown."""
        self.idle = 0
        seal = self._seals.get(session_id)
        if seal is None:
            known = [key for key in self._known if key is not None]
            if not known:
                raise KeyUnknown
            if len(self._seals) >= CACHED_SEALS:
                self._seals.clear()
            seal = self._seals[session_id] = SessionSeal(session_id, known)
        return seal


class Keyring:
    """Seals and opens what sessions store. Without master keys it is off: it seals nothing, and refuses what is sealed.
    With them it opens nothing that is plain before `plain_until_s`, in seconds since 1970, is over.

    The calls that wait raise RedisError, MasterKeyMissing where this process has no master key for a data key, and
    DataKeyGone where a data key was deleted."""

    def __init__(self, redis: Redis, masters: MasterKeys, plain_until_s: float = 0) -> None:
        self.on = bool(masters)
        self._plain_until_s = plain_until_s
        self._reported = Once()
        self._data_keys = DataKeys(redis, masters)
        self._cached: dict[str, TenantKeys] = {}
        self._recent: dict[str, SessionSeal] = {}  # used since the last refresh, for reading and writing
        self._confirmed_s = 0.0
        self._refreshing: asyncio.Task[None] | None = None

    def seal_now(self, session_id: str) -> SessionSeal | None:
        """Return the seal of a session for writing; None where its key has to be loaded first."""
        seal = self._recent.get(session_id)
        if seal is None:
            keys = self._cached.get(tenant_of(session_id))
            if keys is not None and keys.can_seal:
                seal = self._recent[session_id] = keys.seal_of(session_id)
        return seal

    async def seal_for(self, session_id: str) -> SessionSeal:
        """Return the seal of a session for writing. Creates the data key of a tenant that has none."""
        tenant = tenant_of(session_id)
        if tenant not in self._cached:
            (stored,) = await self._data_keys.read([tenant])
            self._keep(tenant, stored or await self._data_keys.create(tenant))
        seal = self.seal_now(session_id)
        if seal is None:
            raise MasterKeyMissing
        return seal

    async def sealed(self, session_id: str, values: Sequence[tuple[str, bytes]]) -> list[bytes]:
        """Seal values, each with its place; unchanged where the keyring is off."""
        if not self.on or not values:
            return [value for _, value in values]
        seal = await self.seal_for(session_id)
        return [seal.seal(place.encode(), value) for place, value in values]

    @overload
    async def opened(self, session_id: str, values: Sequence[tuple[str, bytes]]) -> list[bytes]: ...

    @overload
    async def opened(self, session_id: str, values: Sequence[tuple[str, bytes | None]]) -> list[bytes | None]: ...

    async def opened(self, session_id: str, values: Sequence[tuple[str, bytes | None]]) -> Sequence[bytes | None]:
        """Open values, each with its place. Raises SealBroken for one that was changed, moved, or is plain where it may
        not be."""
        if not any(value is not None and is_sealed(value) for _, value in values):
            if not self._opens_plain:
                self._refuse_plain(session_id, values)
            return [value for _, value in values]
        return await self._open(session_id, partial(self._values, session_id, values))

    async def opened_entries(self, session_id: str, reply: Reply, anchor: bytes = b"") -> Reply:
        """Open the entries of a log, see shared.log.sealed_entries."""
        plain = self._opens_plain
        if not sealed_entries.has_sealed(reply, anchor):
            return reply if plain else sealed_entries.opened(None, reply, anchor)
        return await self._open(session_id, lambda seal: sealed_entries.opened(seal, reply, anchor, plain=plain))

    def opened_entries_now(self, session_id: str, reply: Reply) -> Reply:
        """Open the entries of a log with the keys at hand; leave them sealed where one has to be loaded first."""
        plain = self._opens_plain
        with suppress(KeyUnknown):
            return sealed_entries.opened(self.seal_now(session_id), reply, plain=plain)
        return sealed_entries.opened(None, reply, plain=plain)

    @property
    def _opens_plain(self) -> bool:
        return not self.on or time.time() < self._plain_until_s

    def _values(
        self, session_id: str, values: Sequence[tuple[str, bytes | None]], seal: SessionSeal
    ) -> Sequence[bytes | None]:
        """Open values of which some are sealed."""
        plain, found = self._opens_plain, list[bytes | None]()
        for place, value in values:
            if value is None or (plain and not is_sealed(value)):
                found.append(value)
                continue
            try:
                found.append(seal.open(place.encode(), value))
            except SealBroken:
                self._report(session_id, place)
                raise
        return found

    def _refuse_plain(self, session_id: str, values: Sequence[tuple[str, bytes | None]]) -> None:
        """Raise SealBroken where there is a value. None is sealed."""
        place = next((place for place, value in values if value is not None), None)
        if place is not None:
            self._report(session_id, place)
            raise SealBroken

    def _report(self, session_id: str, place: str) -> None:
        """Log once that a value was refused."""
        if self._reported.add((session_id, place)):
            log.error("a stored value was changed, moved, or is not encrypted", session_id=session_id, place=place)

    async def aclose(self) -> None:
        """Drop the keys."""
        self._cached.clear()
        self._recent.clear()
        if self._refreshing is not None:
            self._refreshing.cancel()
            with suppress(asyncio.CancelledError):
                await self._refreshing

    async def _open(self, session_id: str, opening: Callable[[SessionSeal], Opened]) -> Opened:
        """Open with the cached keys, then with those that the server has now."""
        if not self.on:
            raise MasterKeyMissing
        tenant = tenant_of(session_id)
        keys = self._cached.get(tenant)
        if keys is not None:
            with suppress(KeyUnknown):
                return opening(keys.seal_of(session_id))
        (stored,) = await self._data_keys.read([tenant])
        if not stored:
            self._drop(tenant)
            raise DataKeyGone
        keys = self._keep(tenant, stored)
        try:
            return opening(keys.seal_of(session_id))
        except KeyUnknown:
            raise (DataKeyGone if keys.is_complete else MasterKeyMissing) from None

    def _keep(self, tenant: str, stored: str) -> TenantKeys:
        keys = self._cached.get(tenant)
        if keys is None or keys.stored != stored:
            self._recent.clear()
            keys = self._cached[tenant] = TenantKeys(stored, self._data_keys.unwrapped(tenant, stored))
        if self._refreshing is None:
            self._confirmed_s = time.monotonic()
            self._refreshing = asyncio.get_running_loop().create_task(
                repeat("data keys", self._refresh), context=Context()
            )
        return keys

    def _drop(self, tenant: str) -> None:
        self._cached.pop(tenant, None)
        self._recent.clear()

    async def _refresh(self) -> float:
        """Confirm the cached keys, and drop those that are unused, deleted or unconfirmed for too long."""
        self._recent.clear()  # so that its size is bounded, and the use of a tenant's keys is counted
        for tenant, keys in list(self._cached.items()):
            keys.idle += 1
            if keys.idle > IDLE_REFRESHES:
                del self._cached[tenant]
        tenants, asked_s = list(self._cached), time.monotonic()
        try:
            found = await self._data_keys.read(tenants) if tenants else []
        except RedisError:
            if time.monotonic() - self._confirmed_s > CONFIRMED_SECONDS:
                self._cached.clear()
                self._recent.clear()
            return REFRESH_SECONDS / 10
        self._confirmed_s = asked_s
        for tenant, stored in zip(tenants, found, strict=True):
            if stored:
                self._keep(tenant, stored)
            else:
                self._drop(tenant)
        return REFRESH_SECONDS
