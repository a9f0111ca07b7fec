"""`holdfast check`: whether the settings, the agents, the servers and the gateway are usable, one line each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from gateway.readiness import reasons_against
from gateway.settings import GatewaySettings
from holdfast.dev import url_of
from holdfast.embedded import running_url
from holdfast.variables import PREFIX, unknown_variables
from shared.errors import SettingsInvalid
from shared.redis import RedisError, connect
from shared.settings import CommonSettings, check_settings, read_settings
from worker.__main__ import modules
from worker.registry import Registry
from worker.settings import WorkerSettings

ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `ok` is None for a note: worth knowing, but not a fault."""

    ok: bool | None
    text: str


async def findings(folder: Path, url: str | None) -> AsyncIterator[Finding]:
    """Check the settings, then the agents, each server and the gateway.

    `folder` is the data folder of `holdfast dev`, `url` the gateway's address if it is not that of the settings."""
    try:
        check_settings(GatewaySettings, WorkerSettings)
    except SettingsInvalid as error:
        for line in str(error).splitlines():
            yield Finding(ok=False, text=f"settings: {line}")
        return
    settings = read_settings(GatewaySettings)
    for finding in (*variable_findings(), *agent_findings(read_settings(WorkerSettings))):
        yield finding
    for name, server_url in servers(settings, folder).items():
        async for finding in server_findings(name, server_url):
            yield finding
    yield await gateway_finding(url or url_of(settings.host, settings.port))


def variable_findings() -> Iterator[Finding]:
    named = [name for name in os.environ if name.startswith(PREFIX)]
    yield Finding(ok=True, text=f"settings: every value that is set is valid ({PREFIX} variables: {len(named)})")
    for line in unknown_variables(os.environ):
        yield Finding(ok=None, text=f"settings: {line}")


def agent_findings(settings: WorkerSettings) -> Iterator[Finding]:
    """Import the modules of HOLDFAST_AGENTS, as a worker does."""
    modules(settings)  # makes the modules of the current folder importable
    for name in settings.modules:
        try:
            agents = ", ".join(Registry.load([name])) or "no agent, tools only"
        except SettingsInvalid as error:
            yield Finding(ok=False, text=f"agents: {error}")
        else:
            yield Finding(ok=True, text=f"agents: {name} offers {agents}")


def servers(settings: CommonSettings, folder: Path) -> dict[str, str]:
    """The servers by their role: one when queue and log share it, the embedded one while `holdfast dev` runs it."""
    if settings.log_url != settings.redis_url:
        return {"queue redis": settings.redis_url, "log redis": settings.log_url}
    embedded = None if "HOLDFAST_REDIS_URL" in os.environ else running_url(folder)
    return {"redis": embedded or settings.redis_url}


async def gateway_finding(url: str) -> Finding:
    """What the gateway at this address says of itself. That none answers is only a note."""
    try:
        async with httpx2.AsyncClient(base_url=url, trust_env=False, timeout=ANSWER_SECONDS) as client:
            response = await client.get("/readyz")
            problem = {} if response.status_code == 200 else response.json()
    except httpx2.TransportError:
        return Finding(ok=None, text=f"gateway: none answers at {url}")
    except ValueError:
        return Finding(ok=False, text=f"gateway: what answers at {url} is not a Holdfast gateway")
    if not problem:
        return Finding(ok=True, text=f"gateway: ready at {url}")
    return Finding(ok=False, text=f"gateway: not ready at {url}: {problem.get('detail')}")


async def server_findings(name: str, url: str) -> AsyncIterator[Finding]:
    place = f"{name} at {without_secret(url)}"
    try:
        client = connect(url, max_connections=1, socket_timeout_s=ANSWER_SECONDS)
        info = await client.info()
        await client.aclose()
    except ValueError:  # its text may quote what stands where a port should: a password with a # in it, say
        variable = "HOLDFAST_LOG_REDIS_URL" if name == "log redis" else "HOLDFAST_REDIS_URL"
        yield Finding(
            ok=False, text=f"{place}: {variable} is no address; redis://host:6379/0, rediss:// or unix:///path"
        )
        return
    except (RedisError, OSError) as error:
        yield Finding(ok=False, text=f"{place}: {str(error) or type(error).__name__}")
        return
    yield Finding(ok=True, text=f"{place}: answers, version {info.get('redis_version')}")
    reasons = reasons_against(info)
    for reason in reasons:
        yield Finding(ok=False, text=f"{name}: {reason}")
    if not reasons:
        yield Finding(ok=True, text=f"{name}: new enough, takes writes, evicts nothing")
    yield persistence(name, info)


def persistence(name: str, info: dict[str, Any]) -> Finding:
    if info.get("aof_enabled"):
        return Finding(ok=True, text=f"{name}: keeps an append-only file")
    return Finding(ok=None, text=f"{name}: keeps no append-only file: when it restarts, jobs and events are gone")


def without_secret(url: str) -> str:
    """The address without user and password, also one that is none."""
    scheme, slashes, rest = url.rpartition("://")
    return scheme + slashes + rest.rpartition("@")[2].partition("?")[0]
