"""A backup that is taken while jobs run is restored into an empty server, and viewers resume there."""

from __future__ import annotations

import asyncio
import io
import os
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from tests.support.history import History, final_log
from tests.support.process import ROOT, Processes, until
from tests.support.redis_server import RedisServer
from tests.support.watcher import Watcher, dismiss
from tests.support.workers import Client

SESSIONS = [f"s{number}" for number in range(8)]
WORKER = {"HOLDFAST_LEASE_SECONDS": "0.5"}


def back_up(server: RedisServer, archive: Path) -> None:
    with archive.open("wb") as output:
        subprocess.run(["sh", ROOT / "deploy/redis-backup", server.folder], check=True, stdout=output)


def restored(archive: Path, folder: Path) -> RedisServer:
    """Start a server with what a backup has."""
    folder.mkdir()
    subprocess.run(["tar", "-x", "-f", archive, "-C", folder], check=True)
    server = RedisServer(folder, aof=True)
    server.start()
    return server


@pytest.fixture
def server(redis_server: Callable[..., RedisServer]) -> RedisServer:
    return redis_server(aof=True)


async def test_jobs_continue_and_viewers_resume_or_are_told_of_a_gap(
    server: RedisServer, processes: Processes, tmp_path: Path
) -> None:
    history, client = History(), Client(server.url)
    gateway, worker = processes.gateway(server.url), processes.worker(server.url, **WORKER)
    await gateway.until_ready()
    await client.offered("scripted")
    urls = [gateway.url]
    watchers = [
        Watcher(urls, f"/v1/sessions/{name}/events?raw=true", history.client(name, name), seed=1) for name in SESSIONS
    ]
    for name in SESSIONS:
        await client.post(name, options={"tokens": 60, "interval_ms": 25})
    tasks = [asyncio.create_task(watcher.watch()) for watcher in watchers]
    await until(lambda: all(len(watcher.transcript.steps) > 5 for watcher in watchers))
    await asyncio.to_thread(back_up, server, tmp_path / "backup.tar")
    before = [len(watcher.transcript.steps) for watcher in watchers]
    await until(lambda: all(len(w.transcript.steps) > count + 5 for w, count in zip(watchers, before, strict=True)))
    gateway.kill()
    worker.kill()
    server.kill()
    await client.close()

    second = restored(tmp_path / "backup.tar", tmp_path / "second")
    client = Client(second.url)
    try:
        urls[0] = processes.gateway(second.url).url
        processes.worker(second.url, **WORKER)
        for name in SESSIONS:
            assert (await client.end(name))["type"] == "job.completed"
            assert await client.said(name) == "".join(f"w{number} " for number in range(60))
        logs = {name: await final_log(client.log, name) for name in SESSIONS}
        await until(lambda: all(w.transcript.cursor == logs[w.transcript.session_id][-1].id for w in watchers))
        await dismiss(tasks)
        assert history.violations(logs) == []
        assert {gap.reason for watcher in watchers for gap in watcher.transcript.gaps()} == {"lost"}
        for watcher in watchers:
            kept = [event.id for event in watcher.transcript.events()]
            assert kept == [event.id for event in logs[watcher.transcript.session_id]]
    finally:
        await client.close()
        second.kill()


def test_a_backup_during_rewrites_of_the_file_is_whole(server: RedisServer, tmp_path: Path) -> None:
    with redis.Redis.from_url(server.url) as client:
        for number in range(3):
            for key in range(1000):
                client.set(f"key-{key}", f"{number}" * 1000)
            client.bgrewriteaof()
            back_up(server, tmp_path / f"{number}.tar")
            copy = restored(tmp_path / f"{number}.tar", tmp_path / f"copy-{number}")
            try:
                with redis.Redis.from_url(copy.url) as other:
                    assert {other.get(f"key-{key}") for key in range(1000)} == {b"%d" % number * 1000}
            finally:
                copy.kill()
    assert not list(server.folder.glob("backup.*"))


def test_a_rewrite_between_two_copies_makes_the_backup_begin_again(tmp_path: Path) -> None:
    files = tmp_path / "appendonlydir"
    files.mkdir()
    for name in ("a.1.base.rdb", "a.1.incr.aof", "a.2.base.rdb"):
        (files / name).write_text(name)
    (files / "a.manifest").write_text("file a.1.base.rdb seq 1 type b\nfile a.1.incr.aof seq 1 type i\n")
    (tmp_path / "second").write_text("file a.2.base.rdb seq 2 type b\n")
    (tmp_path / "ln").write_text(f'#!/bin/sh\n/bin/ln "$@"; cp {tmp_path}/second {files}/a.manifest\n')
    (tmp_path / "ln").chmod(0o755)
    env = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    command = ["sh", str(ROOT / "deploy/redis-backup"), str(tmp_path)]
    archive = subprocess.run(command, check=True, env=env, stdout=subprocess.PIPE).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        assert {name.rpartition("/")[2] for name in tar.getnames()} == {"appendonlydir", "a.manifest", "a.2.base.rdb"}


def test_a_backup_leaves_out_the_list_that_a_rewrite_is_writing(server: RedisServer, tmp_path: Path) -> None:
    next_list = server.folder / "appendonlydir/temp-appendonly.aof.manifest"
    next_list.write_text("file appendonly.aof.9.base.rdb seq 9 type b\n")
    back_up(server, tmp_path / "backup.tar")
    with tarfile.open(tmp_path / "backup.tar") as tar:
        assert not [name for name in tar.getnames() if "temp" in name]


def test_a_folder_without_an_append_only_file_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "appendonlydir").mkdir()
    done = subprocess.run(["sh", ROOT / "deploy/redis-backup", tmp_path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no append-only file" in done.stderr
