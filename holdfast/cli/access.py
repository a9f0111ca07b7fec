"""`holdfast keys` and `holdfast tenants`: the credentials that gateways accept, in the queue's Redis."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from holdfast.cli.embedded import running_url
from holdfast.gateway.principal import RIGHTS
from holdfast.shared.auth_store import ApiKey, AuthStore, Tenant
from holdfast.shared.errors import HoldfastError, RequestInvalid
from holdfast.shared.redis.client import connect
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.settings import CommonSettings, read_settings

DAY_S = 86_400
Result = TypeVar("Result")


class AccessError(HoldfastError):
    code = "access_error"
    title = "The credentials cannot be read or changed"


def create_key(folder: Path, tenant: str, rights: str, name: str, days: float | None) -> str:
    """Create a key and return its token. Raises RequestInvalid, AccessError."""
    wanted = sorted(set(rights.split(",")))
    unknown = [right for right in wanted if right not in RIGHTS]
    if unknown:
        raise RequestInvalid("rights", f"{', '.join(unknown)}: must be among {', '.join(sorted(RIGHTS))}")
    expires_at = None if days is None else int((time.time() + days * DAY_S) * 1000)
    _, token = _with_store(folder, lambda store: store.create_key(tenant, wanted, name, expires_at))
    return token


def key_lines(folder: Path, tenant: str | None) -> list[str]:
    """Return a line for each key. Raises AccessError."""
    found = _with_store(folder, AuthStore.keys)
    return [_line(key) for key in sorted(found, key=lambda key: key.created_at) if tenant in (None, key.tenant)]


def revoke_key(folder: Path, key_id: str) -> None:
    """Delete a key. Raises AccessError."""
    if not _with_store(folder, lambda store: store.revoke_key(key_id)):
        raise AccessError(f"there is no key {key_id}: `holdfast keys list` shows them")


def set_tenant(folder: Path, tenant: str, agents: str | None, models: str | None) -> None:
    """Set which agents and models a tenant may use; None: all. Raises RequestInvalid, AccessError."""
    limits = Tenant(*(None if names is None else sorted(filter(None, names.split(","))) for names in (agents, models)))
    _with_store(folder, lambda store: store.set_tenant(tenant, limits))


def tenant_lines(folder: Path) -> list[str]:
    """Return a line for each tenant that has a key or limits. Raises AccessError."""
    tenants = _with_store(folder, AuthStore.tenants)
    names = sorted({key.tenant for key in _with_store(folder, AuthStore.keys)} | set(tenants))
    return [_tenant_line(name, tenants.get(name, Tenant())) for name in names]


def revoke_tickets(folder: Path, tenant: str) -> None:
    """Void all tickets and sign-ins of a tenant that were made before now. Raises AccessError."""
    _with_store(folder, lambda store: store.revoke_tickets(tenant))


def _with_store(folder: Path, use: Callable[[AuthStore], Awaitable[Result]]) -> Result:
    async def call() -> Result:
        redis = connect(_url(folder), max_connections=1)
        try:
            return await use(AuthStore(redis))
        except RedisError as error:
            raise AccessError(f"Redis: {error}") from None
        finally:
            await redis.aclose()

    return asyncio.run(call())


def _url(folder: Path) -> str:
    """Return the queue's Redis: the embedded one while `holdfast dev` runs it on this folder."""
    embedded = None if "HOLDFAST_REDIS_URL" in os.environ else running_url(folder)
    return embedded or read_settings(CommonSettings).redis_url


def _line(key: ApiKey) -> str:
    expiry = "" if key.expires_at is None else f", expires {_date(key.expires_at)}"
    return f"{key.key_id}  {key.tenant}  {','.join(key.rights)}  created {_date(key.created_at)}{expiry}  {key.name}"


def _tenant_line(name: str, tenant: Tenant) -> str:
    parts = [f"{kind}: {'all' if names is None else ','.join(names)}" for kind, names in tenant._asdict().items()]
    return "  ".join([name, *parts])


def _date(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d")
