"""Proxies in front of gateways: the shipped Caddyfile, and an nginx as docs/operations.md describes it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.process import Process, Processes, until

CADDY = Path(sysconfig.get_path("scripts")) / "caddy"
CADDYFILE = Path(__file__).resolve().parents[2] / "deploy/Caddyfile"
GATEWAYS = re.compile(r"dynamic a gateway 8000 \{[^}]*\}")

NGINX = """
daemon off; master_process off; pid {folder}/nginx.pid; error_log stderr;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    map $http_upgrade $upgrade {{ default upgrade; "" ""; }}
    upstream gateways {{ {servers} keepalive 16; keepalive_timeout 50s; }}
    server {{
        listen 127.0.0.1:{port}{tls};
        location / {{
            proxy_pass http://gateways; proxy_http_version 1.1; proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $upgrade;
        }}
    }}
}}
"""


class Certificate(NamedTuple):
    """The files of a certificate for 127.0.0.1 that signs itself."""

    certificate: Path
    key: Path


def self_signed(folder: Path) -> Certificate:
    """Make a certificate. Needs openssl."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return made


def caddyfile(port: int, gateways: Sequence[int], *, aside: str = "2s", tls: Certificate | None = None) -> str:
    """Return the shipped configuration with other ports. Gateways stay dynamic ones, each of a name of its own.

    `aside`: how long a gateway that failed is skipped. `tls`: listen with TLS, for HTTP/2 too."""
    changes = {
        ":8000 {": f":{port} {{\n\tbind 127.0.0.1",
        "format json": "format json\n\t\tlevel DEBUG",
        "fail_duration 2s": f"fail_duration {aside}",
    }
    if tls is not None:
        changes["protocols h1"] = "protocols h1 h2"
        changes[":8000 {"] = f"https://127.0.0.1:{port} {{\n\tbind 127.0.0.1\n\ttls {tls.certificate} {tls.key}"
    text = CADDYFILE.read_text("utf-8")
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    assert len(GATEWAYS.findall(text)) == 1
    sources = "\n".join(f"a localhost {gateway} {{\nversions ipv4\nrefresh 1s\n}}" for gateway in gateways)
    return GATEWAYS.sub(f"dynamic multi {{\n{sources}\n}}", text) if gateways else text


async def start_caddy(processes: Processes, folder: Path, config: str) -> Process:
    """Start a Caddy with this configuration. Returns once it serves."""
    file = folder / "Caddyfile"
    file.write_text(config, "utf-8")
    command = [str(CADDY), "run", "--config", str(file), "--adapter", "caddyfile"]
    process = processes.start(command, XDG_CONFIG_HOME=str(folder), XDG_DATA_HOME=str(folder))
    await process.until_output("serving initial configuration")
    return process


def nginx_binary() -> str | None:
    """Return the path of an installed nginx, or None."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


async def start_nginx(
    processes: Processes, folder: Path, port: int, gateways: Sequence[int], *, tls: Certificate | None = None
) -> Process:
    """Start the installed nginx. Returns once it serves. `tls`: listen with TLS, for HTTP/2 too."""
    binary = nginx_binary()
    assert binary is not None, "install nginx"
    servers = " ".join(f"server 127.0.0.1:{gateway} max_fails=0;" for gateway in gateways)
    listen = f" ssl http2; ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key}" if tls else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, servers=servers, tls=listen), "utf-8")
    process = processes.start([binary, "-c", str(config), "-p", str(folder)])
    await until(lambda: listens(port) or not process.running, describe=process.describe)
    return process


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
