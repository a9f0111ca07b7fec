"""A Redis or Valkey of one run's own: empty, without persistence, on the load's core."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import redis

from bench.processes import Child, await_listening, free_port
from holdfast.cli.embedded import server_binary


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
        self._client: Any = redis.Redis.from_url(self.url)  # typed for both of its clients at once

    def info(self, section: str) -> dict[str, Any]:
        """What INFO says of a section."""
        found: dict[str, Any] = self._client.info(section)
        return found

    def exist(self, keys: Sequence[str]) -> int:
        """How many of the keys are there."""
        return int(self._client.exists(*keys))

    def entries(self, keys: Sequence[str]) -> int:
        """How many entries these streams hold together."""
        with self._client.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.xlen(key)
            return sum(pipeline.execute())

    def connections(self) -> int:
        return int(self.info("clients")["connected_clients"])

    def stop(self) -> None:
        self._client.close()
        self.child.stop()
