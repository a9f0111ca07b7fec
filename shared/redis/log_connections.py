"""The connections of a process to the log servers. All keys of a session are on one of them."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType

from holdfast.shared.keyring import Keyring
from holdfast.shared.keys import log_key
from holdfast.shared.master_keys import MasterKeys
from holdfast.shared.redis.address import cluster_address
from holdfast.shared.redis.auto_pipeline import FLUSH_INTERVAL_S, AutoPipeline
from holdfast.shared.redis.client import Redis, connect
from holdfast.shared.redis.cluster import Cluster
from holdfast.shared.redis.cluster_client import ClusterClient, ClusterPipeline


@dataclass(frozen=True, slots=True, eq=False)
class LogConnection:
    """The connections to one log server, or to one Redis Cluster, at `url`: `redis` for single calls, `pipeline` for
    calls that many sessions gather in one write."""

    url: str
    redis: Redis
    pipeline: AutoPipeline | ClusterPipeline
    cluster: Cluster | None = None

    async def aclose(self) -> None:
        await self.pipeline.aclose()
        await self.redis.aclose()


class LogConnections:
    """The log servers of a deployment. Today there is one. Callers name the session, so several servers need addresses
    in the settings, a LogConnection each, and a rule in `connection_for`.

    `keyring`: encrypts what sessions store; the data keys are on the first server. By default it is off."""

    def __init__(self, *servers: LogConnection, keyring: Keyring | None = None) -> None:
        self.servers = servers
        self.keyring = keyring or Keyring(servers[0].redis, {})

    def connection_for(self, session_id: str) -> LogConnection:
        """Return the connections to the server that holds the session's keys."""
        return self.servers[0]

    def place_of(self, session_id: str) -> str:
        """Name the server that has the session at this moment: of a cluster the known owner of its slot."""
        server = self.connection_for(session_id)
        return server.url if server.cluster is None else server.cluster.place_of(log_key(session_id))

    async def aclose(self) -> None:
        await self.keyring.aclose()
        for server in self.servers:
            await server.aclose()


def connect_logs(
    url: str,
    *,
    max_connections: int,
    deadline_s: float,
    flush_interval_s: float = FLUSH_INTERVAL_S,
    masters: MasterKeys = MappingProxyType({}),
    plain_until_s: float = 0,
) -> LogConnections:
    """Create the connections to one log server or cluster, as `redis.connect` and `AutoPipeline` do. They are
    opened on demand.

    `masters`: the master keys of the encryption at rest; without any it is off. `plain_until_s`: see Keyring."""
    if cluster_address(url) is None:
        redis = connect(url, max_connections=max_connections, socket_timeout_s=deadline_s)
        pipeline = AutoPipeline(url, deadline_s=deadline_s, flush_interval_s=flush_interval_s)
        log = LogConnection(url, redis, pipeline)
    else:
        cluster = Cluster(
            url, max_connections=max_connections, deadline_s=deadline_s, flush_interval_s=flush_interval_s
        )
        log = LogConnection(url, ClusterClient(cluster), ClusterPipeline(cluster), cluster)
    return LogConnections(log, keyring=Keyring(log.redis, masters, plain_until_s))
