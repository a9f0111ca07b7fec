"""Proxies in front of gateways: the shipped configurations of Caddy and nginx, and the least that nginx needs."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.ports import free_port
from tests.support.process import Process, Processes, until

CADDY = Path(sysconfig.get_path("scripts")) / "caddy"
DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
CADDYFILE = DEPLOY / "Caddyfile"
CADDYFILE_TLS = DEPLOY / "Caddyfile.tls"
SITE = DEPLOY / "site.caddy"
NGINX_CONF = DEPLOY / "nginx.conf"
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
TEMPORARY = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")


class Certificate(NamedTuple):
    """The files of a certificate for 127.0.0.1 with its key. `bundles`: a folder with both in one file, for Caddy."""

    certificate: Path
    key: Path
    bundles: Path


def self_signed(folder: Path) -> Certificate:
    """Make a certificate that signs itself. Needs openssl."""
    made = Certificate(folder / "certificate.pem", folder / "key.pem", folder / "certificates")
    command = "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=127.0.0.1"
    files = ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(made.key), "-out", str(made.certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    made.bundles.mkdir()
    (made.bundles / "bundle.pem").write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    return made


def changed(text: str, changes: Mapping[str, str]) -> str:
    """Return a shipped configuration with these texts replaced. Each must occur once."""
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


def caddyfile(
    port: int,
    gateways: Sequence[int],
    *,
    aside: str = "2s",
    tls: Certificate | None = None,
    http_port: int | None = None,
    quick: bool = False,
) -> str:
    """Return the shipped configuration with other ports. Gateways stay dynamic ones, each of a name of its own.

    `aside`: how long a gateway that failed is skipped. `tls`: that of deploy/Caddyfile.tls, with its redirections at
    `http_port`. `quick`: give up on slow header fields after 1 s instead of 10 s, and on gateways after 100 ms."""
    shared = {
        "output stderr": "output stderr\n\t\tlevel DEBUG",
        "fail_duration 2s": f"fail_duration {aside}",
    }
    if quick:
        shared |= {"read_header 10s": "read_header 1s", "lb_try_duration 3s": "lb_try_duration 100ms"}
    if tls is None:
        own = {":8000 {": f":{port} {{\n\tbind 127.0.0.1"}
    else:
        own = {
            "http_port 8000": f"http_port {http_port or free_port()}",
            "https_port 8443": f"https_port {port}",
            "{$HOLDFAST_SITE} {": "127.0.0.1 {\n\tbind 127.0.0.1",
            "{$HOLDFAST_CERTIFICATES:/certificates}": str(tls.bundles),
        }
    text = changed((CADDYFILE if tls is None else CADDYFILE_TLS).read_text("utf-8"), own)
    text = changed(text, {"import site.caddy\n": changed(SITE.read_text("utf-8"), shared)})
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


def nginx_config(folder: Path, port: int, gateways: Sequence[int], tls: Certificate | None = None) -> str:
    """Return the least that nginx needs in front of gateways. `tls`: listen with TLS, for HTTP/2 too."""
    servers = " ".join(f"server 127.0.0.1:{gateway} max_fails=0;" for gateway in gateways)
    listen = f" ssl http2; ssl_certificate {tls.certificate}; ssl_certificate_key {tls.key}" if tls else ""
    return NGINX.format(folder=folder, port=port, servers=servers, tls=listen)


def shipped_nginx_config(
    folder: Path, port: int, gateways: Sequence[int], tls: Certificate, *, http_port: int, quick: bool
) -> str:
    """Return deploy/nginx.conf with other ports and files, and logs in `folder`. Otherwise as `caddyfile`."""
    temporary = " ".join(f"{name}_temp_path {folder}/{name};" for name in TEMPORARY)
    changes = {
        "worker_processes auto;": "daemon off; master_process off;",
        "pid /run/nginx.pid;": f"pid {folder}/nginx.pid;",
        "error_log /var/log/nginx/error.log;": f"error_log {folder}/error.log;",
        "error_log /var/log/nginx/error.log emerg;": f"error_log {folder}/error.log emerg;",
        "access_log /var/log/nginx/access.log": f"{temporary} access_log {folder}/access.log",
        "client_header_timeout 10s;": f"client_header_timeout {1 if quick else 10}s;",
        "listen 80;": f"listen 127.0.0.1:{http_port};",
        "listen 443 ssl http2;": f"listen 127.0.0.1:{port} ssl http2;",
        "/etc/nginx/certificates/fullchain.pem": str(tls.certificate),
        "/etc/nginx/certificates/privkey.pem": str(tls.key),
        "server 127.0.0.1:8001 max_fails=0;": " ".join(
            f"server 127.0.0.1:{gateway} max_fails=0;" for gateway in gateways
        ),
        "server 127.0.0.1:8002 max_fails=0;": "",
    }
    return changed(NGINX_CONF.read_text("utf-8"), changes)


async def start_nginx(processes: Processes, folder: Path, port: int, config: str) -> Process:
    """Start the installed nginx with this configuration. Returns once it serves at `port`."""
    binary = nginx_binary()
    assert binary is not None, "install nginx"
    file = folder / "nginx.conf"
    file.write_text(config, "utf-8")
    process = processes.start([binary, "-c", str(file), "-p", str(folder)])
    await until(lambda: listens(port) or not process.running, describe=process.describe)
    return process


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0
