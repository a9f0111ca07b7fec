"""The environment in which each peer is started."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from bench.load import EVENT, Target
from bench.machine import Cores
from bench.peers.redis import RedisServer
from bench.processes import ROOT, Child, await_listening, free_port
from tests.support.layout import has_one_import_name


class PeerMissing(Exception):
    """This machine lacks what the peer needs; the message says what."""


@dataclass(slots=True)
class Stage:
    """A folder and cores for one run of one peer. What is started here is stopped with it, the last first.

    `tree`: the folder that the product's processes are started from."""

    folder: Path
    cores: Cores
    sessions: int
    batch: int = 1
    event: bytes = EVENT
    tree: Path = ROOT
    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def on_end(self, clean: Callable[[], object]) -> None:
        self._stack.callback(clean)

    def redis(self) -> RedisServer:
        server = RedisServer(self.folder, self.cores.load)
        self._stack.callback(server.stop)
        return server

    def server(self, command: list[str], port: int, **env: str) -> Child:
        """Start a server on the server's core and wait until it listens."""
        log = self.folder / f"server-{port}.log"
        child = Child(command, log=log, core=self.cores.server, env=env, cwd=self.tree)
        self._stack.callback(child.stop)
        await_listening(child, port)
        return child

    def background(self, command: list[str], **env: str) -> Child:
        """Start a process that listens to nothing, on the server's core."""
        log = self.folder / f"background-{free_port()}.log"
        child = Child(command, log=log, core=self.cores.server, env={"PYTHONPATH": str(ROOT)} | env)
        self._stack.callback(child.stop)
        return child

    def gateway(self, port: int, **env: str) -> Child:
        """Start the gateway of the tree and wait until it listens."""
        module = "holdfast.gateway" if has_one_import_name(self.tree) else "gateway"
        return self.server([sys.executable, "-m", module], port, PYTHONPATH=str(self.tree), **env)

    def uvicorn(self, app: str, redis_url: str, **env: str) -> tuple[Child, int]:
        """Serve an app as the product is served: uvloop, httptools, no access log."""
        port = free_port()
        options = ["--port", str(port), "--no-access-log", "--log-level", "warning", "--loop", "uvloop"]
        command = [sys.executable, "-m", "uvicorn", app, *options, "--http", "httptools"]
        return self.server(command, port, REDIS_URL=redis_url, PYTHONPATH=str(ROOT), **env), port


@dataclass(frozen=True, slots=True)
class Peer:
    """One server to be measured. `start` raises PeerMissing. `history`: whether it has anything to resume from.
    `hostile`: whether expensive requests come in beside the viewers."""

    key: str
    name: str
    start: Callable[[Stage], Target]
    history: bool = True
    hostile: bool = False
