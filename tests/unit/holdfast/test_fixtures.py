"""The fixtures that other tests rest on."""

from __future__ import annotations

import sys
from collections.abc import Callable

import pytest
import redis

from tests.support.process import Processes
from tests.support.redis_server import RedisServer


def test_redis_url_is_an_empty_server(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0
        client.set("left", "behind")


def test_redis_url_is_empty_again_for_the_next_test(redis_url: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert client.dbsize() == 0


def test_a_server_with_aof_has_its_data_after_a_kill(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(aof=True, fsync="always")
    with redis.Redis.from_url(server.url) as client:
        client.set("kept", "1")
    server.restart()
    with redis.Redis.from_url(server.url) as client:
        assert client.get("kept") == b"1"


def test_a_stopped_server_answers_nothing_until_it_is_continued(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server()
    server.stop()
    assert not server.answers()
    server.cont()
    assert server.answers()


def test_a_full_server_refuses_writes(redis_server: Callable[..., RedisServer]) -> None:
    server = redis_server(maxmemory=1)
    with redis.Redis.from_url(server.url) as client, pytest.raises(redis.exceptions.OutOfMemoryError):
        client.set("k", "v")


async def test_a_process_has_its_output_and_exit_code(processes: Processes) -> None:
    process = processes.start(
        [sys.executable, "-c", "import os; print(os.environ['GREETING']); exit(3)"], GREETING="hi"
    )
    await process.until_output("hi")
    assert await process.wait() == 3
