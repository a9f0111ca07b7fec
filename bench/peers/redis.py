"""A Redis or Valkey of one run's own: empty, without persistence, on the load's core."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import redis

from bench.processes import Child, await_listening, free_port
from holdfast.embedded import server_binary


class RedisServer:
    def __init__(self, folder: Path, core: int | None) -> None:
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        options = {"port": self.port, "bind": "127.0.0.1", "save": "", "appendonly": "no", "dir": folder}
        command = [server_binary()]
        for name, value in options.items():
            command += [f"--{name}", str(value)]
        self.child = Child(command, log=folder / "redis.log", core=core)
        await_listening(self.child, self.port)

    def info(self, section: str) -> dict[str, Any]:
        """What INFO says of a section."""
        with redis.Redis.from_url(self.url) as client:
            found: dict[str, Any] = client.info(section)
            return found

    def connections(self) -> int:
        return int(self.info("clients")["connected_clients"])

    def stop(self) -> None:
        self.child.stop()
