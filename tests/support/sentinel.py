"""A primary, two replicas and three sentinels on one machine, whose parts a test may kill, freeze and cut off.

Everybody reaches the first primary through a proxy, which knows clients, replicas and sentinels apart and cuts them off
by kind. The replicas are reached directly.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Literal

import redis
from holdfast.cli.embedded import server_binary
from holdfast.cli.tether import tethered
from tests.support.ports import free_port
from tests.support.process import until
from tests.support.redis_server import RedisServer

NAME = "main"
DOWN_AFTER_MS = 1000
READ_BYTES = 65536
Kind = Literal["client", "replica", "sentinel"]
_WORDS: dict[bytes, Kind] = {b"REPLCONF": "replica", b"sentinel-": "sentinel"}


class PrimaryProxy:
    """Passes connections to the first primary. `cut` closes those of a kind, now and later."""

    def __init__(self, port: int) -> None:
        self._target = port
        self._links: dict[_Link, None] = {}
        self._cut: set[Kind] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def __aenter__(self) -> PrimaryProxy:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut("client", "replica", "sentinel")
        await until(lambda: not self._links)

    def cut(self, *kinds: Kind) -> None:
        self._cut |= {*kinds}
        for link in self._links:
            link.close_if(self._cut)

    def heal(self) -> None:
        self._cut.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there = await asyncio.open_connection("127.0.0.1", self._target)
        except OSError:
            writer.transport.abort()
            return
        link = _Link((reader, writer), there)
        self._links[link] = None
        try:
            await link.run(self._cut)
        finally:
            del self._links[link]


class _Link:
    """One connection through the proxy. Until it has shown its kind it passes as a client's."""

    def __init__(self, *ends: tuple[asyncio.StreamReader, asyncio.StreamWriter]) -> None:
        self._near, self._far = ends
        self._kind: Kind = "client"

    def close_if(self, cut: set[Kind]) -> None:
        if self._kind in cut:
            for _, writer in (self._near, self._far):
                writer.transport.abort()

    async def run(self, cut: set[Kind]) -> None:
        ways = [asyncio.create_task(self._up(cut)), asyncio.create_task(self._pass(self._far[0], self._near[1]))]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        self.close_if({self._kind})
        await asyncio.gather(*ways, return_exceptions=True)

    async def _up(self, cut: set[Kind]) -> None:
        """Pass on what a client sends. The first kilobytes tell its kind."""
        seen = b""
        with contextlib.suppress(OSError):
            while data := await self._near[0].read(READ_BYTES):
                if len(seen) < 1000 and self._kind == "client":
                    seen += data
                    self._kind = next((kind for word, kind in _WORDS.items() if word in seen), "client")
                    self.close_if(cut)
                self._far[1].write(data)
                await self._far[1].drain()

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(READ_BYTES):
                writer.write(data)
                await writer.drain()


class Sentinel:
    """One sentinel on a port of its own."""

    def __init__(self, folder: Path) -> None:
        self.port = free_port()
        self.id = secrets.token_hex(20)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, primary_port: int, others: list[Sentinel], replica_ports: list[int]) -> None:
        """Start it knowing everybody, which otherwise takes some seconds."""
        self._folder.mkdir(parents=True)
        lines = [
            f"port {self.port}",
            "bind 127.0.0.1",
            f"sentinel myid {self.id}",
            f"sentinel monitor {NAME} 127.0.0.1 {primary_port} 2",
            f"sentinel down-after-milliseconds {NAME} {DOWN_AFTER_MS}",
            f"sentinel failover-timeout {NAME} 4000",
            *(f"sentinel known-replica {NAME} 127.0.0.1 {port}" for port in replica_ports),
            *(f"sentinel known-sentinel {NAME} 127.0.0.1 {other.port} {other.id}" for other in others),
        ]
        config = self._folder / "sentinel.conf"
        config.write_text("\n".join(lines) + "\n")
        wrapped, descriptors = tethered([server_binary(), str(config), "--sentinel"])
        with (self._folder / "sentinel.log").open("ab") as log:
            self._process = subprocess.Popen(
                wrapped, cwd=self._folder, stdout=log, stderr=log, pass_fds=descriptors, start_new_session=True
            )

    def ask(self, *command: str) -> Any:
        """Send a SENTINEL command. Returns None while it does not answer."""
        with contextlib.suppress(redis.ConnectionError), redis.Redis(port=self.port) as client:
            return client.execute_command("SENTINEL", *command)
        return None

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()


class SentinelDeployment:
    """`servers`: the first primary, then the replicas. `proxy`: in front of the first primary."""

    def __init__(self, servers: list[RedisServer], sentinels: list[Sentinel], proxy: PrimaryProxy) -> None:
        self.servers = servers
        self.sentinels = sentinels
        self.proxy = proxy

    @property
    def url(self) -> str:
        return f"redis+sentinel://{','.join(f'127.0.0.1:{sentinel.port}' for sentinel in self.sentinels)}/{NAME}/0"

    def named(self) -> list[int | None]:
        """The port that each sentinel names as that of the primary."""
        replies = [sentinel.ask("GET-MASTER-ADDR-BY-NAME", NAME) for sentinel in self.sentinels]
        return [int(reply[1]) if reply else None for reply in replies]

    async def moved(self, timeout_s: float = 30) -> RedisServer:
        """Wait until all living sentinels name another primary than the first. Returns it."""

        def agreed() -> bool:
            named = {port for port in self.named() if port is not None}
            return len(named) == 1 and named != {self.proxy.port}

        await until(agreed, timeout_s, lambda: f"named: {self.named()}")
        port = next(port for port in self.named() if port is not None)
        return next(server for server in self.servers if server.port == port)

    async def replicated(self) -> None:
        """Wait until both replicas are in reach of the first primary and known to each sentinel."""

        def good() -> bool:
            with redis.Redis(port=self.servers[0].port) as primary:
                info: Any = primary.info("replication")
            return bool(info["min_slaves_good_slaves"] == len(self.servers) - 1)

        def known() -> bool:
            replies = [sentinel.ask("CKQUORUM", NAME) for sentinel in self.sentinels]
            return all(replies) and set(self.named()) == {self.proxy.port}

        await until(good)
        await until(known)


@contextlib.asynccontextmanager
async def sentinel_deployment(folder: Path) -> AsyncIterator[SentinelDeployment]:
    """Start everything and wait until it is replicated; kill it at the end of the block."""
    options: dict[str, Any] = {
        "min_replicas_to_write": 1,
        "min_replicas_max_lag": 2,
        "repl_diskless_sync_delay": 0,
        "repl_ping_replica_period": 1,
    }
    servers = [RedisServer(folder / f"server-{number}", **options) for number in range(3)]
    sentinels = [Sentinel(folder / f"sentinel-{number}") for number in range(3)]
    async with PrimaryProxy(servers[0].port) as proxy:
        try:
            servers[0].start()
            for replica in servers[1:]:
                replica._options["replicaof"] = ("127.0.0.1", proxy.port)
                replica.start()
            ports = [replica.port for replica in servers[1:]]
            for sentinel in sentinels:
                sentinel.start(proxy.port, [other for other in sentinels if other is not sentinel], ports)
            deployment = SentinelDeployment(servers, sentinels, proxy)
            await deployment.replicated()
            yield deployment
        finally:
            for process in (*sentinels, *servers):
                process.kill()
