"""`holdfast data-keys`: list, renew and delete the keys that encrypt what tenants store."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Literal

from holdfast.shared.data_keys import DataKeys
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.redis.log_connections import connect_logs
from holdfast.shared.settings import CommonSettings, read_settings

ANSWER_SECONDS = 10.0
Change = Literal["rotate", "rewrap", "forget"]


async def listed() -> list[str]:
    """Return a line for each tenant: its name, and the master key of each of its data keys, newest first."""
    async with _opened() as data_keys:
        tenants = await data_keys.tenants()
        stored = await data_keys.read(tenants) if tenants else []
        return [
            f"{tenant or '(no tenant)'}: {', '.join(line.split(':')[1] for line in keys.split())}"
            for tenant, keys in zip(tenants, stored, strict=True)
        ]


async def changed(change: Change, tenant: str | None) -> int:
    """Change the data keys of a tenant, or of all. Returns the number of tenants.

    Raises RedisError, DataKeyGone, MasterKeyMissing; SettingsInvalid without master keys."""
    async with _opened() as data_keys:
        changes: dict[Change, Callable[[str], Awaitable[object]]] = {
            "rotate": data_keys.rotate,
            "rewrap": data_keys.rewrap,
            "forget": data_keys.forget,
        }
        tenants = await data_keys.tenants() if tenant is None else [tenant]
        for one in tenants:
            await changes[change](one)
        return len(tenants)


@asynccontextmanager
async def _opened() -> AsyncIterator[DataKeys]:
    settings = read_settings(CommonSettings)
    if not settings.master_keys:
        raise SettingsInvalid("HOLDFAST_ENCRYPTION_KEYS is not set")
    logs = connect_logs(settings.log_url, max_connections=1, deadline_s=ANSWER_SECONDS)
    try:
        yield DataKeys(logs.servers[0].redis, settings.master_keys)
    finally:
        await logs.aclose()
