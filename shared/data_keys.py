"""The data keys of tenants, as the log server stores them: encrypted by a master key, newest first, one a line."""

from __future__ import annotations

from collections.abc import Sequence

from holdfast.shared import keys
from holdfast.shared.errors import DataKeyGone, MasterKeyMissing
from holdfast.shared.master_keys import MasterKeys
from holdfast.shared.redis.client import Redis
from holdfast.shared.scripts import Script, source
from holdfast.shared.sealing import DataKey, new_data_key, unwrap, wrap


class DataKeys:
    """Creates, changes and deletes data keys. Every call raises RedisError when the server does not answer."""

    def __init__(self, redis: Redis, masters: MasterKeys) -> None:
        self._redis = redis
        self._masters = masters
        self._replace_script = Script(source("data_key", "replace", prelude=False))

    async def read(self, tenants: Sequence[str]) -> list[str]:
        """Return the stored keys of each tenant; empty where there are none."""
        found = await self._redis.mget([keys.DATA_KEYS + tenant for tenant in tenants])
        return [(stored or b"").decode() for stored in found]

    async def create(self, tenant: str) -> str:
        """Create a tenant's first data key, unless it has one. Returns its stored keys."""
        stored = wrap(self._masters, tenant, new_data_key())
        await self._redis.set(keys.DATA_KEYS + tenant, stored, nx=True)
        return (await self.read([tenant]))[0]

    def unwrapped(self, tenant: str, stored: str) -> list[DataKey | None]:
        """Decrypt stored keys, newest first. None stands for one whose master key is missing."""
        return [unwrap(self._masters, tenant, line) for line in stored.split()]

    async def rotate(self, tenant: str) -> None:
        """Add a data key, which encrypts from now on; the others still decrypt. Raises DataKeyGone without any."""
        while True:
            stored = await self._existing(tenant)
            if await self._replaced(tenant, stored, f"{wrap(self._masters, tenant, new_data_key())}\n{stored}"):
                return

    async def rewrap(self, tenant: str) -> None:
        """Encrypt a tenant's data keys with the first master key.

        Raises MasterKeyMissing where the master key of one is missing, DataKeyGone without any."""
        while True:
            stored = await self._existing(tenant)
            known = self.unwrapped(tenant, stored)
            if None in known:
                raise MasterKeyMissing
            again = "\n".join(wrap(self._masters, tenant, key) for key in known if key is not None)
            if await self._replaced(tenant, stored, again):
                return

    async def forget(self, tenant: str) -> bool:
        """Delete a tenant's data keys: what they encrypted is lost. Returns whether there were any.

        Processes drop their copies within FORGOTTEN_SECONDS of shared.keyring."""
        return bool(await self._redis.delete(keys.DATA_KEYS + tenant))

    async def tenants(self) -> list[str]:
        """Return the tenants that have data keys."""
        found, cursor = set[str](), 0
        while True:
            cursor, names = await self._redis.scan(cursor, match=keys.DATA_KEYS + "*", count=1000)
            found |= {name.decode().removeprefix(keys.DATA_KEYS) for name in names}
            if not cursor:
                return sorted(found)

    async def _existing(self, tenant: str) -> str:
        (stored,) = await self.read([tenant])
        if not stored:
            raise DataKeyGone
        return stored

    async def _replaced(self, tenant: str, stored: str, new: str) -> bool:
        return bool(await self._replace_script.run(self._redis.call, [keys.DATA_KEYS + tenant], [stored, new]))
