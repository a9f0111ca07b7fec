"""A primary, two replicas and three sentinels on one machine, whose parts a test may kill, freeze and cut off.

Everybody reaches the first primary through a proxy, which can cut off clients, replicas or sentinels. The replicas are
reached directly.
"""

from __future__ import annotations

import contextlib
import secrets
import signal
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import redis

from holdfast.cli.embedded import server_binary
from holdfast.cli.tether import tethered
from tests.support.ports import free_port
from tests.support.primary_proxy import PrimaryProxy
from tests.support.process import until
from tests.support.redis_server import RedisServer

NAME = "main"
DOWN_AFTER_MS = 1000


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
        """Wait until both replicas follow the first primary and are known to each sentinel.

        A replica that was synchronized counts as good at once, but gets no commands before it has confirmed some."""

        def good() -> bool:
            with redis.Redis(port=self.servers[0].port) as primary:
                info: Any = primary.info("replication")
            replicas = [info.get(f"slave{number}", {"offset": 0}) for number in range(len(self.servers) - 1)]
            return all(replica["offset"] > 0 for replica in replicas)

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
    with PrimaryProxy(servers[0].port) as proxy:
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
            for sentinel in sentinels:
                sentinel.kill()
            for server in servers:
                server.kill()
