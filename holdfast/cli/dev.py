"""`holdfast dev`: an embedded Redis, one gateway and one worker, with one command and no setup."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

import httpx

from holdfast.cli.children import Child, Plan
from holdfast.cli.console import Console
from holdfast.cli.dead_worker import expire_lease
from holdfast.cli.embedded import prepare
from holdfast.cli.reload import ReloadedChild, Sources
from holdfast.gateway.hosts import check_listen_host, probe
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import HoldfastError
from holdfast.shared.settings import check_settings, read_settings
from holdfast.worker.process.settings import WorkerSettings

LOOK_SECONDS = 0.05
# In addition to the grace periods of gateway and worker.
PATIENCE_SECONDS = 5.0
# Some supervisors signal a process and then its group.
SAME_SIGNAL_SECONDS = 0.5
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# Defaults for interactive use, which the environment may override.
DEFAULTS = {
    "HOLDFAST_SCRIPTED_AGENT": "1",
    "HOLDFAST_ERROR_PLACES": "1",
    "HOLDFAST_GRACE_SECONDS": "2",
    "HOLDFAST_GATEWAY_GRACE_SECONDS": "2",
}


class PortTaken(HoldfastError):
    code = "port_taken"


class StartFailed(HoldfastError):
    code = "start_failed"


def run(folder: Path) -> None:
    """Run until a signal. Raises SettingsInvalid, PortTaken, FolderInUse, ServerMissing or StartFailed."""
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    check_settings(GatewaySettings, WorkerSettings)
    gateway, worker = read_settings(GatewaySettings), read_settings(WorkerSettings)
    check_listen_host(gateway.host)
    patience_s = PATIENCE_SECONDS + max(gateway.gateway_grace_seconds, worker.grace_seconds)
    console = Console(as_json=gateway.log_as_json)
    asyncio.run(Dev(gateway.host, gateway.port, folder, patience_s, worker, console).run())


class Dev:
    """All processes. The first signal stops them in order, the second one at once."""

    def __init__(
        self, host: str, port: int, folder: Path, patience_s: float, settings: WorkerSettings, console: Console
    ) -> None:
        self._host = host
        self._port = port
        self._folder = folder
        self._patience_s = patience_s
        self._settings = settings
        self._console = console
        self._redis: Child | None = None
        self._others: list[Child] = []
        self._task: asyncio.Task[None] | None = None
        self._signalled_at = 0.0

    async def run(self) -> None:
        self._task = asyncio.current_task()
        for number in STOP_SIGNALS:
            asyncio.get_running_loop().add_signal_handler(number, self._on_signal)
        self._port = take_port(self._host, self._port)
        try:
            await self._start()
            await self._keep_up()
        except asyncio.CancelledError:
            self._console.write("dev", "stopping")
        finally:
            await self._stop()

    def _on_signal(self) -> None:
        now = time.monotonic()
        if self._task is not None:
            self._task.cancel()
            self._task = None
            self._signalled_at = now
        elif now - self._signalled_at > SAME_SIGNAL_SECONDS:
            for child in self._children:
                child.kill()

    @property
    def _children(self) -> list[Child]:
        return [child for child in (self._redis, *self._others) if child is not None]

    async def _start(self) -> None:
        env = environment(self._port)
        redis_url = self._settings.redis_url
        if "HOLDFAST_REDIS_URL" not in env:
            env["HOLDFAST_REDIS_URL"] = redis_url = await self._start_redis()
        # Usually there is no other worker that would find this one dead.
        expire = partial(expire_lease, self._settings, redis_url)
        start = replace(plan("worker", env), after_exit=expire)
        sources = Sources(self._settings.modules, Path.cwd())
        worker = ReloadedChild(start, self._console, sources, self._patience_s)
        self._others += [Child(plan("gateway", without_metrics_port(env)), self._console), worker]
        for child in self._others:
            await child.start()
        url = url_of(self._host, self._port)
        async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
            await self._until(lambda: is_up(client, with_agents=not worker.waits))
        self._console.announce(url)

    async def _start_redis(self) -> str:
        server = prepare(self._folder)
        log = str(server.folder / "redis.log")
        start = Plan("redis", server.command, os.environ, server.folder, (server.lock,), log)
        self._redis = Child(start, self._console)
        await self._redis.start()
        await self._until(server.answers)
        return server.url

    async def _until(self, condition: Callable[[], Awaitable[bool]]) -> None:
        while not await condition():
            for child in self._children:
                if child.ended and not child.waits:
                    raise StartFailed(f"{child.name} {child.ended} before Holdfast was up: see {child.reasons}")
            await asyncio.sleep(LOOK_SECONDS)

    async def _keep_up(self) -> None:
        async with asyncio.TaskGroup() as group:
            for child in self._children:
                group.create_task(child.keep_up())

    async def _stop(self) -> None:
        """Stop Redis last, since the others still write to it."""
        await asyncio.gather(*(child.stop(self._patience_s) for child in self._others))
        if self._redis is not None:
            await self._redis.stop(self._patience_s)


def plan(name: str, env: Mapping[str, str]) -> Plan:
    # -P: modules in the user's working directory must not shadow those of Holdfast.
    return Plan(name, [sys.executable, "-P", "-m", f"holdfast.{name}"], env, Path.cwd())


def environment(port: int) -> dict[str, str]:
    """Return the environment of gateway and worker. Their log lines are JSON, which the console renders."""
    return os.environ | {"HOLDFAST_PORT": str(port), "HOLDFAST_LOG_FORMAT": "json", "PYTHONUNBUFFERED": "1"}


def without_metrics_port(env: Mapping[str, str]) -> dict[str, str]:
    """Leave the port for metrics to the worker: the gateway of this machine has its metrics on the main port."""
    return {name: value for name, value in env.items() if name != "HOLDFAST_METRICS_PORT"}


def take_port(host: str, port: int) -> int:
    """Return the port to listen on, a free one for 0. Raises PortTaken when the gateway could not listen on it."""
    try:
        return probe(host, port)
    except OSError as error:
        raise PortTaken(f"Cannot listen on {host}:{port} ({error.strerror}): set HOLDFAST_PORT to another") from None


def url_of(host: str, port: int) -> str:
    """Return the local URL of a gateway that listens on this address."""
    reachable = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - read, not bound
    return f"http://[{reachable}]:{port}" if ":" in reachable else f"http://{reachable}:{port}"


async def is_up(client: httpx.AsyncClient, *, with_agents: bool) -> bool:
    """Return whether the gateway is ready and, where there is a worker, an agent is offered."""
    try:
        if (await client.get("/readyz")).status_code != 200:
            return False
        agents = await client.get("/v1/agents") if with_agents else None
        return agents is None or agents.status_code == 401 or bool(agents.json().get("agents"))
    except httpx.TransportError:
        return False
