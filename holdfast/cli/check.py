"""`holdfast check`: check the settings, the agents, the servers and the gateway, one line each."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from holdfast.cli.dev import url_of
from holdfast.cli.embedded import running_url
from holdfast.cli.variables import PREFIX, unknown_variables
from holdfast.client import ArgumentInvalid
from holdfast.client.transport import checked_url
from holdfast.gateway.hosts import check_listen_host
from holdfast.gateway.readiness import reasons_not_ready
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.stream.polling import POLL_SECONDS
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.redis.address import cluster_address, sentinel_address
from holdfast.shared.redis.client import connect, user_of
from holdfast.shared.redis.cluster import Cluster
from holdfast.shared.redis.errors import RedisError
from holdfast.shared.redis.probe import tracking_problem
from holdfast.shared.redis.rights import missing_rights, refusals
from holdfast.shared.redis.sentinel import replication_notes, replication_problems
from holdfast.shared.redis.users import GATEWAY, SESSION, USERS, WORKER, Right
from holdfast.shared.settings import CommonSettings, check_settings, read_settings
from holdfast.worker.__main__ import agents, modules
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.sdk.registry import Registry

ANSWER_SECONDS = 5.0
CLUSTER_NODE = "log redis node"
APPEND = (Right("xadd", (SESSION.log,)),)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report. `ok` is None for a note, which is no fault."""

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
    bad_host = [*host_findings(settings.host)]
    for finding in (*variable_findings(), *bad_host, *agent_findings(read_settings(WorkerSettings))):
        yield finding
    for name, server_url in servers(settings, folder).items():
        found = server_findings if cluster_address(server_url) is None else cluster_findings
        async for finding in found(name, server_url):
            yield finding
    if url or not bad_host:
        yield await gateway_finding(url or url_of(settings.host, settings.port))


def variable_findings() -> Iterator[Finding]:
    named = [name for name in os.environ if name.startswith(PREFIX)]
    yield Finding(ok=True, text=f"settings: every value that is set is valid ({PREFIX} variables: {len(named)})")
    for line in unknown_variables(os.environ):
        yield Finding(ok=None, text=f"settings: {line}")


def host_findings(host: str) -> Iterator[Finding]:
    """Check that a gateway can listen on HOLDFAST_HOST."""
    try:
        check_listen_host(host)
    except SettingsInvalid as error:
        yield Finding(ok=False, text=f"settings: {error}")


def agent_findings(settings: WorkerSettings) -> Iterator[Finding]:
    """Import each module of HOLDFAST_AGENTS, then load all agents together, as a worker does."""
    modules(settings)  # makes modules in the working directory importable
    alone = [module_finding(name) for name in settings.modules]
    together = all_agents_findings(settings)
    yield from dict.fromkeys((*alone, *together))  # a broken module fails both ways, with the same text


def module_finding(name: str) -> Finding:
    try:
        agents = ", ".join(Registry.load([name])) or "no agent, tools only"
    except SettingsInvalid as error:
        return Finding(ok=False, text=f"agents: {error}")
    return Finding(ok=True, text=f"agents: {name} offers {agents}")


def all_agents_findings(settings: WorkerSettings) -> list[Finding]:
    """Load the built-in agents, those of the modules, of installed packages and of models. Duplicate names are
    errors."""
    errors: list[SettingsInvalid] = []
    offered = Registry()
    try:
        offered = Registry(agents(settings, errors.append))
    except SettingsInvalid as error:
        errors.append(error)
    if errors:
        return [Finding(ok=False, text=f"agents: {error}") for error in errors]
    return [Finding(ok=True, text=f"agents: a worker offers {', '.join(offered)}")]


def servers(settings: CommonSettings, folder: Path) -> dict[str, str]:
    """Return the servers by role: one if queue and log share it; the embedded one while `holdfast dev` runs it."""
    embedded = None if "HOLDFAST_REDIS_URL" in os.environ else running_url(folder)
    queue_url = embedded or settings.redis_url
    log_url = settings.log_redis_url or queue_url
    return {"redis": queue_url} if log_url == queue_url else {"queue redis": queue_url, "log redis": log_url}


async def gateway_finding(url: str) -> Finding:
    """Check whether the gateway at this address is ready. A refused connection is a note, since none may run yet."""
    try:
        checked_url(url)
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=ANSWER_SECONDS) as client:
            response = await client.get("/readyz")
    except ArgumentInvalid as error:
        return Finding(ok=False, text=f"gateway: {error}")
    except httpx.ConnectError:
        return Finding(ok=None, text=f"gateway: none answers at {url}")
    except httpx.TransportError as error:
        return Finding(ok=False, text=f"gateway: no answer from {url}: {str(error) or type(error).__name__}")
    return readiness(url, response)


def readiness(url: str, response: httpx.Response) -> Finding:
    """Parse the response of /readyz: `{"status": "ready"}`, or a problem (RFC 9457) with its code."""
    try:
        body = response.json()
    except ValueError:
        body = None
    if isinstance(body, dict) and response.status_code == 200 and body.get("status") == "ready":
        return Finding(ok=True, text=f"gateway: ready at {url}")
    if isinstance(body, dict) and response.status_code != 200 and "code" in body:
        return Finding(ok=False, text=f"gateway: not ready at {url}: {body.get('detail')}")
    return Finding(ok=False, text=f"gateway: what answers at {url} is not a Holdfast gateway")


async def cluster_findings(name: str, url: str) -> AsyncIterator[Finding]:
    """Check each master of a Redis Cluster, and that each slot has one."""
    place = f"{name} at {without_secret(url)}"
    cluster = Cluster(url, max_connections=1, deadline_s=ANSWER_SECONDS, flush_interval_s=0)
    try:
        masters = [cluster.address.at(master.place) for master in await cluster.masters()]
    except RedisError as error:
        yield Finding(ok=False, text=f"{place}: {error}")
        return
    finally:
        await cluster.aclose()
    missing = cluster.slots.uncovered
    text = f"{missing} slots have no master: their sessions cannot be used" if missing else "each slot has one"
    yield Finding(ok=not missing, text=f"{place}: a cluster of {len(masters)} masters; {text}")
    for master in masters:
        async for finding in server_findings(CLUSTER_NODE, master):
            yield finding


async def server_findings(name: str, url: str) -> AsyncIterator[Finding]:
    place = f"{name} at {without_secret(url)}"
    try:
        client = connect(url, max_connections=1, socket_timeout_s=ANSWER_SECONDS)
        info = await client.info()
        await client.aclose()
        rights = [*await command_findings(name, url), *await rights_findings(name, url)]
    except ValueError:  # its text may quote the text in place of the port, such as a password with a #
        variable = "HOLDFAST_LOG_REDIS_URL" if name == "log redis" else "HOLDFAST_REDIS_URL"
        yield Finding(
            ok=False,
            text=f"{place}: {variable} is no address; redis://host:6379/0, rediss://, redis+sentinel:// or unix:///path",
        )
        return
    except (RedisError, OSError) as error:
        yield Finding(ok=False, text=f"{place}: {str(error) or type(error).__name__}")
        return
    yield Finding(ok=True, text=f"{place}: answers, version {info.get('redis_version')}")
    reasons = reasons_not_ready(info)
    for reason in reasons:
        yield Finding(ok=False, text=f"{name}: {reason}")
    if not reasons:
        yield Finding(ok=True, text=f"{name}: new enough, takes writes, evicts nothing")
    yield persistence(name, info)
    if sentinel_address(url):
        for finding in replication_findings(name, info):
            yield finding
    for finding in rights:
        yield finding


async def command_findings(name: str, url: str) -> list[Finding]:
    """Check that the server has every command that gateways and workers need; managed services may lack some. Raises
    RedisError."""
    here = {
        "queue redis": [GATEWAY.on_queue, WORKER.needed_on_queue],
        "log redis": [GATEWAY.needed_on_log, WORKER.on_log],
        CLUSTER_NODE: [GATEWAY.on_cluster, WORKER.on_cluster],
    }
    everything = [(*role.needed_on_log, *role.needed_on_queue) for role in (GATEWAY, WORKER)]
    rights = [right for of_role in here.get(name, everything) for right in of_role]
    lacking = (await refusals(url, rights, ANSWER_SECONDS)).commands
    return [Finding(ok=False, text=f"{name}: the server has no command {command}") for command in lacking]


async def rights_findings(name: str, url: str) -> list[Finding]:
    """Check that the user in the address has the rights of one of the users, and note which it has too many of. Raises
    RedisError."""
    user, missing = user_of(url), {}
    for role in USERS:
        here = {"queue redis": role.needed_on_queue, "log redis": role.needed_on_log, CLUSTER_NODE: role.on_cluster}
        rights = here.get(name, (*role.needed_on_log, *role.needed_on_queue))
        missing[role.name] = await missing_rights(url, rights, ANSWER_SECONDS)
    roles = [role for role, lacks in missing.items() if not lacks]
    if not roles:
        role_name = min((GATEWAY.name, WORKER.name), key=lambda role: len(", ".join(missing[role]).split(",")))
        text = f"{name}: the user {user}, as a {role_name}, may not"
        return [Finding(ok=False, text=f"{text} {right}") for right in missing[role_name]]
    found = [Finding(ok=True, text=f"{name}: the user {user} has the rights of: {', '.join(roles)}")]
    if GATEWAY.name in roles and name != "queue redis":
        found += [Finding(ok=None, text=f"{name}: {text}") async for text in log_notes(url)]
    return found


async def log_notes(url: str) -> AsyncIterator[str]:
    """Yield what a gateway's user should not have, or could have besides, on the log server. Raises RedisError."""
    if not await missing_rights(url, APPEND, ANSWER_SECONDS):
        yield (f"the user {user_of(url)} may append to logs, which no gateway needs; docs/redis.md has a user for each")
    if problem := await tracking_problem(url, ANSWER_SECONDS):
        yield f"does not notify of changes, so that gateways poll every {POLL_SECONDS * 1000:.0f} ms: {problem}"


def replication_findings(name: str, info: dict[str, Any]) -> list[Finding]:
    """Check that a primary of sentinels cannot take writes that a failover loses for good."""
    faults = [Finding(ok=False, text=f"{name}: {problem}") for problem in replication_problems(info)]
    faults += [Finding(ok=False, text=f"{name}: {note}") for note in replication_notes(info)]
    return faults or [Finding(ok=True, text=f"{name}: has replicas, and takes no writes without one")]


def persistence(name: str, info: dict[str, Any]) -> Finding:
    if info.get("aof_enabled"):
        return Finding(ok=True, text=f"{name}: keeps an append-only file")
    return Finding(ok=None, text=f"{name}: keeps no append-only file: when it restarts, jobs and events are gone")


def without_secret(url: str) -> str:
    """Remove user and password from an address, also from an invalid one."""
    scheme, slashes, rest = url.rpartition("://")
    return scheme + slashes + rest.rpartition("@")[2].partition("?")[0]
