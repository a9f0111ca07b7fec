"""Fixtures that every test may use: real servers and real processes. Their classes are in tests/support."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import redis
from httpx2 import create_ssl_context
from httpx2._config import DEFAULT_TIMEOUT_CONFIG
from hypothesis import HealthCheck, settings

from tests.support.process import Processes, inherited_env
from tests.support.redis_cluster import RedisCluster
from tests.support.redis_server import RedisServer

# The same examples in each run, and no limit of time, so that a red run is about the change.
# `--hypothesis-profile=default` tries others.
settings.register_profile("suite", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")


@pytest.fixture(scope="session", autouse=True)
def _clean_environment() -> Iterator[None]:
    """What this machine sets for Holdfast or a provider is nothing to the tests."""
    with pytest.MonkeyPatch.context() as patch:
        for name in set(os.environ) - set(inherited_env()):
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _shared_ssl_context() -> Iterator[None]:
    """Reading the certificates takes 20 ms, in each of thousands of clients of which hardly one uses TLS."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("httpx2._transports.default.create_ssl_context", cache(create_ssl_context))
        yield


@pytest.fixture(scope="session", autouse=True)
def _patient_http() -> Iterator[None]:
    """The default of five seconds also runs while a first import of an SDK occupies the event loop of a test."""
    with pytest.MonkeyPatch.context() as patch:
        for phase in ("connect", "read", "write", "pool"):
            patch.setattr(DEFAULT_TIMEOUT_CONFIG, phase, 60.0)
        yield


@pytest.fixture(scope="session")
def _session_redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.fixture
def redis_url(_session_redis: RedisServer) -> str:
    """The address of a real, empty Redis. A test that configures, freezes or kills it takes `redis_server` instead."""
    with redis.Redis.from_url(_session_redis.url) as client:
        client.flushall()
        client.script_flush()
    return _session_redis.url


@pytest.fixture
def redis_server(tmp_path: Path) -> Iterator[Callable[..., RedisServer]]:
    """`redis_server(aof=True, fsync="always", maxmemory=2_000_000)` starts a server of the test's own."""
    servers: list[RedisServer] = []

    def start(**options: Any) -> RedisServer:
        servers.append(RedisServer(tmp_path / f"redis-{len(servers)}", **options))
        servers[-1].start()
        return servers[-1]

    yield start
    for server in servers:
        server.kill()


@pytest.fixture
def processes(tmp_path: Path) -> Iterator[Processes]:
    """`processes.gateway(redis_url)`, `.worker(redis_url)`, `.start(command)`; what is left of them is killed."""
    processes = Processes(tmp_path)
    yield processes
    processes.kill()


@pytest.fixture(scope="session")
def _session_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisCluster]:
    cluster = RedisCluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start()
        yield cluster
    finally:
        cluster.kill()


@pytest.fixture
def redis_cluster(_session_cluster: RedisCluster) -> RedisCluster:
    """A real, empty Redis Cluster of three masters, whose slots a test may move."""
    for master in _session_cluster.masters:
        master.call("FLUSHALL")
        master.call("SCRIPT", "FLUSH")
    return _session_cluster
