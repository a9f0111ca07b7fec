"""The embedded server: private, persistent, one owner a folder."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis

from holdfast.cli import embedded
from holdfast.cli.embedded import EmbeddedRedis, FolderInUse, ServerMissing, prepare, server_binary
from tests.support.process import until


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[EmbeddedRedis]:
    server = prepare(folder)
    with subprocess.Popen(server.command, cwd=server.folder, pass_fds=(server.lock,)) as process:
        await until(server.answers)
        yield server
        process.kill()
    os.close(server.lock)


async def test_what_was_written_is_there_after_a_crash_even_in_a_folder_with_a_space(tmp_path: Path) -> None:
    async with running(tmp_path / "a folder") as server:
        with redis.Redis.from_url(server.url) as client:
            client.set("kept", "1")
    async with running(tmp_path / "a folder") as server:
        with redis.Redis.from_url(server.url) as client:
            assert client.get("kept") == b"1"


async def test_it_is_set_up_as_holdfast_needs_it(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        with redis.Redis.from_url(server.url) as client:
            settings = client.config_get("*")
    assert settings["maxmemory-policy"] == "noeviction"
    assert settings["appendonly"] == "yes"
    assert settings["appendfsync"] == "everysec"
    assert settings["save"] == ""
    assert settings["bind"] == "127.0.0.1"


async def test_nobody_gets_in_without_the_password_which_only_the_owner_can_read(tmp_path: Path) -> None:
    async with running(tmp_path) as server:
        with (
            redis.Redis(port=server.port) as client,
            pytest.raises(redis.exceptions.AuthenticationError),
        ):
            client.ping()
    assert (tmp_path / "redis.conf").stat().st_mode & 0o077 == 0


def test_a_folder_has_one_owner_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOCK_SECONDS", 0.0)
    owner = prepare(tmp_path)
    with pytest.raises(FolderInUse, match=str(tmp_path)):
        prepare(tmp_path)
    os.close(owner.lock)
    os.close(prepare(tmp_path).lock)


async def test_the_folder_stays_taken_while_an_orphaned_server_still_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "LOCK_SECONDS", 0.0)
    async with running(tmp_path) as server:
        spare = os.dup(server.lock)
        os.close(server.lock)
        with pytest.raises(FolderInUse):
            await asyncio.to_thread(prepare, tmp_path)
        os.dup2(spare, server.lock)
        os.close(spare)


def test_a_machine_without_any_server_is_told_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "files", lambda _: None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerMissing, match="HOLDFAST_REDIS_URL"):
        server_binary()
