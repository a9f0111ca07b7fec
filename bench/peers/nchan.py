"""nchan, an nginx module in C, from Debian's packages: installed, or unpacked under .cache without installing."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.load import Feed, Target, command, filled_size
from bench.peers.stage import Peer, PeerMissing, Stage
from bench.processes import CACHE, free_port

MODULE = "usr/lib/nginx/modules/ngx_nchan_module.so"
CONNECTIONS = 16
COMPILED_IN = Path("/var/lib/nginx")  # with this module nginx requires it, whatever its configuration says
CONFIGURATION = """\
load_module {module};
daemon off;
worker_processes 1;
{user}
pid {folder}/nginx.pid;
error_log {folder}/nginx.log warn;
events {{ worker_connections 16384; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    keepalive_requests 1000000000;
    nchan_shared_memory_size 1024M;
    {upstream}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location ~ ^/publish/(\\w+)$ {{
            nchan_publisher;
            nchan_channel_id $1;
            nchan_message_buffer_length 10000;
            nchan_message_timeout 1h;
            {storage}
        }}
        location ~ ^/events/(\\w+)$ {{
            nchan_subscriber eventsource;
            nchan_channel_id $1;
            nchan_subscriber_first_message oldest;
            {storage}
        }}
    }}
}}
"""


def start(stage: Stage) -> Target:
    return _start(stage, upstream="", storage="")


def start_with_redis(stage: Stage) -> Target:
    redis = stage.redis()
    upstream = f"upstream logs {{ nchan_redis_server {redis.url}; }}"
    target = _start(stage, upstream=upstream, storage="nchan_redis_pass logs;")
    return Target(target.ports, target.path, target.feed, target.server, redis)


def _start(stage: Stage, *, upstream: str, storage: str) -> Target:
    binary, module = _nginx()
    _make_folder(stage)
    port = free_port()
    user = "user root;" if os.geteuid() == 0 else ""
    configuration = stage.folder / "nginx.conf"
    configuration.write_text(
        CONFIGURATION.format(
            module=module, user=user, folder=stage.folder, port=port, upstream=upstream, storage=storage
        )
    )
    command_line = [binary, "-c", str(configuration), "-p", str(stage.folder), "-e", str(stage.folder / "nginx.log")]
    nginx = stage.server(command_line, port)
    feed = Feed(port, "http", [_post(number, stage.event) for number in range(stage.sessions)], connections=CONNECTIONS)
    return Target([port], "/events/{session}", feed, [nginx])


def _post(session: int, event: bytes) -> bytes:
    head = b"POST /publish/%d HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n"
    return command(head % (session, filled_size(event)) + event)


def _nginx() -> tuple[str, Path]:
    """Nginx and its module. Raises PeerMissing."""
    installed = shutil.which("nginx")
    if installed and (Path("/") / MODULE).exists():
        return installed, Path("/") / MODULE
    unpacked = CACHE / "nginx"
    if not (unpacked / MODULE).exists():
        _unpack(unpacked)
    return str(unpacked / "usr/sbin/nginx"), unpacked / MODULE


def _make_folder(stage: Stage) -> None:
    if COMPILED_IN.exists():
        return
    try:
        COMPILED_IN.mkdir()
    except OSError:
        raise PeerMissing(f"nginx needs {COMPILED_IN} (apt-get install nginx libnginx-mod-nchan)") from None
    stage.on_end(lambda: shutil.rmtree(COMPILED_IN, ignore_errors=True))


def _unpack(into: Path) -> None:
    apt_get, unpack = shutil.which("apt-get"), shutil.which("dpkg-deb")
    if apt_get is None or unpack is None:
        raise PeerMissing("no nginx with nchan, and this is no Debian to take it from")
    into.mkdir(parents=True, exist_ok=True)
    fetched = subprocess.run(
        [apt_get, "download", "-q", "nginx", "libnginx-mod-nchan"], cwd=into, capture_output=True, check=False
    )
    if fetched.returncode:
        raise PeerMissing("no nginx with nchan (apt-get install nginx libnginx-mod-nchan; apt-get update first)")
    for package in into.glob("*.deb"):
        subprocess.run([unpack, "-x", str(package), str(into)], check=True)


PEER = Peer("nchan", "nchan, in memory", start)
WITH_REDIS = Peer("nchan-redis", "nchan with Redis", start_with_redis)
