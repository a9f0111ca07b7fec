"""Blocking connections, for a thread beside an event loop that does not run."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress
from typing import Any

from holdfast.shared.redis.address import SentinelAddress, place_of, sentinel_address
from redis import ConnectionError as RedisConnectionError
from redis import Redis, RedisError


def connect_blocking(url: str, timeout_s: float) -> Redis:
    """Create a client for the server at an address, or for the primary that a majority of its sentinels names.

    Raises redis.RedisError when they name none, or a server that is no primary."""
    address = sentinel_address(url)
    if address is None:
        return _client(url, timeout_s)
    client = _client(address.at(_primary(address, timeout_s)), timeout_s)
    try:
        replication: Any = client.info("replication")
        if replication["role"] != "master":
            raise RedisConnectionError("the server that the sentinels name is a replica")
    except Exception:
        client.close()
        raise
    return client


def _primary(address: SentinelAddress, timeout_s: float) -> str:
    votes: Counter[str | None] = Counter()
    for url in address.sentinels:
        with suppress(RedisError, OSError), _client(url, timeout_s) as sentinel:
            reply: Any = sentinel.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", address.name)
            votes[place_of(reply)] += 1
    for place, count in votes.items():
        if place is not None and count > len(address.sentinels) // 2:
            return place
    raise RedisConnectionError(f"no majority of the sentinels names the primary {address.name}")


def _client(url: str, timeout_s: float) -> Redis:
    limits: dict[str, Any] = {"socket_timeout": timeout_s, "socket_connect_timeout": timeout_s}
    unnamed: dict[str, Any] = {"lib_name": None, "lib_version": None}  # CLIENT SETINFO needs another right
    return Redis.from_url(url, **limits, **unnamed)
