"""Proxies in front of gateways: the Caddy of the development packages, and nginx where it is installed.

Each serves HTTP/1.1 on one port, and HTTP/2 with TLS on another."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.support.ports import free_port
from tests.support.process import ROOT, Processes

CADDY = Path(sysconfig.get_path("scripts")) / "caddy"
CADDYFILE = ROOT / "deploy" / "Caddyfile"
NGINX = """
daemon off;
pid {folder}/nginx.pid;
error_log stderr notice;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    upstream gateways {{ {servers} }}
    map $http_upgrade $hop {{ default upgrade; '' ''; }}
    proxy_http_version 1.1;
    proxy_set_header Host $http_host;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection $hop;
    proxy_buffering off;
    server {{
        listen 127.0.0.1:{plain};
        location / {{ proxy_pass http://gateways; }}
    }}
    server {{
        listen 127.0.0.1:{tls} ssl http2;
        ssl_certificate {folder}/certificate.pem;
        ssl_certificate_key {folder}/key.pem;
        location / {{ proxy_pass http://gateways; }}
    }}
}}
"""


class Way(NamedTuple):
    """A way to the gateways. `http`: the version of HTTP that it speaks to clients."""

    name: str
    url: str
    http: str


async def caddy(processes: Processes, folder: Path, ports: Sequence[int]) -> list[Way]:
    """Start Caddy as it is shipped, and the same with TLS and HTTP/2."""
    certify(folder)
    plain, tls = free_port(), free_port()
    ways = [Way("Caddy, HTTP/1.1", f"http://127.0.0.1:{plain}", "1.1"), Way("Caddy, HTTP/2", _https(tls), "2")]
    addresses = [f":{plain} {{\n\tbind 127.0.0.1", f"{_https(tls)} {{\n\ttls {folder}/certificate.pem {folder}/key.pem"]
    for address, way in zip(addresses, ways, strict=True):
        own = folder / way.http
        own.mkdir()
        (own / "Caddyfile").write_text(_caddyfile(address, ports))
        command = [str(CADDY), "run", "--config", str(own / "Caddyfile"), "--adapter", "caddyfile"]
        process = processes.start(command, XDG_CONFIG_HOME=str(own), XDG_DATA_HOME=str(own))
        await process.until_output("serving initial configuration")
    return ways


def _caddyfile(address: str, ports: Sequence[int]) -> str:
    sources = "\n".join(f"a localhost {port} {{\nversions ipv4\nrefresh 1s\n}}" for port in ports)
    text = CADDYFILE.read_text("utf-8")
    changes = {
        ":8000 {": address,
        "protocols h1": "protocols h1 h2",
        "dynamic a gateway 8000 {\n\t\trefresh 1s\n\t}": f"dynamic multi {{\n{sources}\n}}",
    }
    for old, new in changes.items():
        assert text.count(old) == 1, old
        text = text.replace(old, new)
    return text


async def nginx(processes: Processes, folder: Path, ports: Sequence[int]) -> list[Way]:
    """Start nginx. Raises FileNotFoundError if it is not installed."""
    certify(folder)
    binary = shutil.which("nginx")
    if binary is None:
        raise FileNotFoundError("nginx")
    plain, tls = free_port(), free_port()
    servers = " ".join(f"server 127.0.0.1:{port} max_fails=0;" for port in ports)
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, servers=servers, plain=plain, tls=tls))
    command = [binary, "-c", str(folder / "nginx.conf"), "-p", str(folder), "-e", "stderr"]
    await processes.start(command).until_output("start worker processes")
    return [Way("nginx, HTTP/1.1", f"http://127.0.0.1:{plain}", "1.1"), Way("nginx, HTTP/2", _https(tls), "2")]


def _https(port: int) -> str:
    return f"https://127.0.0.1:{port}"


def certify(folder: Path) -> None:
    """Write a certificate for 127.0.0.1 that nobody trusts, and its key."""
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "certificate.pem")]
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files, *names, "-days", "2"], check=True, capture_output=True)
