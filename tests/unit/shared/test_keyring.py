"""The keyring alone: for how long it keeps a key."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from holdfast.shared import keyring
from holdfast.shared.keyring import Keyring

ROUNDS = 100


class Server:
    """A server with one key. `reads`: how often it was read."""

    def __init__(self) -> None:
        self.reads = 0
        self._stored: bytes | None = None

    async def mget(self, names: Sequence[str]) -> list[bytes | None]:
        self.reads += 1
        return [self._stored for _ in names]

    async def set(self, name: str, stored: str, *, nx: bool) -> None:
        self._stored = stored.encode()


async def test_a_key_that_is_not_used_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(keyring, "IDLE_REFRESHES", 3)
    server = Server()
    keys = Keyring(server, {"m1": bytes(32)})
    await keys.seal_for("s")
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
    assert server.reads == 2 + 3  # two to create it
    assert keys.seal_now("s") is None
    await keys.aclose()


async def test_a_key_that_is_used_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "REFRESH_SECONDS", 0)
    monkeypatch.setattr(keyring, "IDLE_REFRESHES", 3)
    server = Server()
    keys = Keyring(server, {"m1": bytes(32)})
    await keys.seal_for("s")
    for _ in range(ROUNDS):
        await asyncio.sleep(0)
        assert keys.seal_now("s") is not None
    assert server.reads > 3 + 3
    await keys.aclose()
