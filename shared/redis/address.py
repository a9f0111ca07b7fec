"""Addresses of Redis servers, completed with what other settings say: the password of the user, and the TLS options.

An address such as `redis+sentinel://user@s1:26379,s2:26379,s3:26379/MASTER/0` names sentinels, and the primary by the
name under which they monitor it.
"""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

MAX_PASSWORD_BYTES = 4096
SENTINEL, CLUSTER = "+sentinel", "+cluster"  # at the end of the scheme
SENTINEL_PORT = 26379


class SentinelAddress(NamedTuple):
    """The sentinels, each as an address, and the name of the primary. `head` and `tail`: the parts of the primary's
    address around its host and port."""

    sentinels: tuple[str, ...]
    name: str
    head: str
    tail: str

    def at(self, place: str) -> str:
        """Return the address of the server at `host:port`."""
        return self.head + place + self.tail


class ClusterAddress(NamedTuple):
    """The nodes of a Redis Cluster from which the others are found, as `host:port`. `head` and `tail`: the parts of a
    node's address around that."""

    seeds: tuple[str, ...]
    head: str
    tail: str

    def at(self, place: str) -> str:
        """Return the address of the node at `host:port`."""
        return self.head + place + self.tail


def sentinel_address(url: str) -> SentinelAddress | None:
    """Parse an address that names sentinels; None for one that names a server. Raises ValueError."""
    parts = urlsplit(url)
    if not parts.scheme.endswith(SENTINEL):
        return None
    scheme = parts.scheme.removesuffix(SENTINEL)
    user, at, hosts = parts.netloc.rpartition("@")
    name, _, database = parts.path.strip("/").partition("/")
    if scheme not in ("redis", "rediss") or not name or not all(hosts.split(",")):
        raise ValueError("should be redis+sentinel://host:26379,host:26379,host:26379/MASTER")
    query = f"?{parts.query}" if parts.query else ""
    sentinels = tuple(f"{scheme}://{_with_port(host, SENTINEL_PORT)}/0{query}" for host in hosts.split(","))
    return SentinelAddress(sentinels, unquote(name), f"{scheme}://{user}{at}", f"/{database or 0}{query}")


def cluster_address(url: str) -> ClusterAddress | None:
    """Parse the address of a cluster, such as `redis+cluster://user@h1:6379,h2:6379`; None for that of a server.

    Raises ValueError."""
    parts = urlsplit(url)
    if not parts.scheme.endswith(CLUSTER):
        return None
    scheme = parts.scheme.removesuffix(CLUSTER)
    user, at, hosts = parts.netloc.rpartition("@")
    if scheme not in ("redis", "rediss") or not all(hosts.split(",")) or parts.path.strip("/") not in ("", "0"):
        raise ValueError("should be redis+cluster://host:6379,host:6379 without a database")
    seeds = tuple(_with_port(host, 6379) for host in hosts.split(","))
    query = f"?{parts.query}" if parts.query else ""
    return ClusterAddress(seeds, f"{scheme}://{user}{at}", f"/0{query}")


def _with_port(host: str, port: int) -> str:
    return host if ":" in host.rpartition("]")[2] else f"{host}:{port}"


def place_of(reply: Sequence[bytes] | None) -> str | None:
    """Return `host:port` from a sentinel's reply with both, or None where it knows no primary."""
    if not reply:
        return None
    host, port = (part.decode() for part in reply)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def server_url(url: str) -> str:
    """Return an address with the user, the database and the options of this one, and with a server as redis-py knows
    it. Raises ValueError."""
    if sentinel := sentinel_address(url):
        return sentinel.at("primary:6379")
    cluster = cluster_address(url)
    return url if cluster is None else cluster.at(cluster.seeds[0])


def read_password(file: str) -> str:
    """Return the first line of a file. Raises ValueError when it cannot be read or is empty."""
    try:
        with Path(file).open("rb") as opened:
            password = opened.read(MAX_PASSWORD_BYTES).decode().partition("\n")[0].strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{file} cannot be read: {_reason(error)}") from None
    if not password:
        raise ValueError(f"{file} is empty; its first line must be a password")
    return password


def check_ca(file: str) -> str:
    """Return the path of a file with certificates of authorities in PEM. Raises ValueError when it has none."""
    try:
        ssl.create_default_context(cafile=file)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"{file} has no certificate in PEM: {_reason(error)}") from None
    return file


def complete_url(url: str, password: str | None, ca_file: str | None) -> str:
    """Return the address with the password, if it names a user without one, and with `ca_file` for `rediss://`.

    The host name in the certificate is checked unless the address itself switches that off.

    Raises ValueError for an address without TLS although a file of authorities is set."""
    parts = urlsplit(url)
    if parts.username and parts.password is None and password is not None:
        host = parts.netloc.rpartition("@")[2]
        parts = parts._replace(netloc=f"{parts.username}:{quote(password, safe='')}@{host}")
    scheme = parts.scheme.removesuffix(SENTINEL).removesuffix(CLUSTER)
    if scheme == "rediss":
        options = dict(parse_qsl(parts.query))
        if options.get("ssl_cert_reqs") != "none":
            options.setdefault("ssl_check_hostname", "true")
        if ca_file is not None:
            options.setdefault("ssl_ca_certs", ca_file)
        parts = parts._replace(query=urlencode(options))
    elif scheme == "redis" and ca_file is not None:
        raise ValueError("should be rediss://host:6379/0, since HOLDFAST_REDIS_CA is set")
    query = f"?{parts.query}" if parts.query else ""
    return f"{parts.scheme}://{parts.netloc}{parts.path}{query}"  # geturl() drops the // of unix:///path


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or type(error).__name__
