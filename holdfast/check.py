"""`holdfast check`: whether the settings and the servers that they name will do, one line each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from gateway.readiness import reasons_against
from gateway.settings import GatewaySettings
from shared.errors import SettingsInvalid
from shared.redis import RedisError, connect
from shared.settings import CommonSettings, read_settings
from worker.settings import WorkerSettings

ANSWER_SECONDS = 5.0
# Read by compose, and by the places where tests let a process fail.
OTHERS = {"HOLDFAST_FAILPOINTS", "HOLDFAST_GATEWAYS", "HOLDFAST_IMAGE", "HOLDFAST_WORKERS"}


@dataclass(frozen=True, slots=True)
class Finding:
    """`ok` is None for what is worth knowing and stops nothing."""

    ok: bool | None
    text: str


async def findings() -> AsyncIterator[Finding]:
    """Look at the settings, then at each server."""
    try:
        settings, _ = read_settings(GatewaySettings), read_settings(WorkerSettings)
    except SettingsInvalid as error:
        yield Finding(ok=False, text=f"settings: {error}")
        return
    named = {name for name in os.environ if name.startswith("HOLDFAST_")}
    yield Finding(ok=True, text=f"settings: what is set can be used (HOLDFAST_ variables: {len(named)})")
    for name in sorted(named - known_variables()):
        yield Finding(ok=None, text=f"settings: {name} is no setting; nothing reads it")
    for name, url in servers(settings).items():
        async for finding in server_findings(name, url):
            yield finding


def known_variables() -> set[str]:
    """The variables that gateways, workers and the commands around them read."""
    fields = {*GatewaySettings.model_fields, *WorkerSettings.model_fields}
    return {f"HOLDFAST_{field}".upper() for field in fields} | OTHERS


def servers(settings: CommonSettings) -> dict[str, str]:
    """The servers by what they do; one when queue and log share it."""
    if settings.log_url == settings.redis_url:
        return {"redis": settings.redis_url}
    return {"queue redis": settings.redis_url, "log redis": settings.log_url}


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
