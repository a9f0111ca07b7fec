"""Connections with encryption at rest, and the search of a server's files."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

from holdfast.shared.redis.log_connections import LogConnections, connect_logs

from tests.support.redis_server import RedisServer


def master_key(key_id: str) -> bytes:
    """A master key that follows from its id."""
    return key_id.encode().ljust(32, b"-")


def master_keys(*ids: str) -> str:
    """The value of HOLDFAST_ENCRYPTION_KEYS with these keys."""
    return ",".join(f"{key_id}:{b64encode(master_key(key_id)).decode()}" for key_id in ids)


def sealed_logs(url: str, *ids: str, **options: Any) -> LogConnections:
    """Connections of a process that has these master keys."""
    masters = {key_id: master_key(key_id) for key_id in ids}
    return connect_logs(url, **({"max_connections": 4, "deadline_s": 10} | options), masters=masters)


def files_of(server: RedisServer) -> bytes:
    """All bytes in the folder of a server: its snapshot, its append-only file and its log."""
    return b"".join(path.read_bytes() for path in sorted(server.folder.rglob("*")) if path.is_file())
