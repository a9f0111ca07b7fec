"""The connections to one node of a Redis Cluster."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from holdfast.shared.redis.auto_pipeline import AutoPipeline, PipelinedConnection
from holdfast.shared.redis.client import Client
from holdfast.shared.redis.connection import Argument
from holdfast.shared.redis.errors import ConnectionLost, ResponseError

# Called with the place of a node, a command, and the error with which it failed there.
OnRefused = Callable[[str, Sequence[Argument], ResponseError | ConnectionLost], Awaitable[Any]]


class NodeConnection(PipelinedConnection):
    """A connection to one node. `execute_soon` follows redirections; the other calls return them as replies."""

    place: str
    on_refused: OnRefused

    async def execute_soon(self, *command: Argument) -> Any:
        try:
            return await super().execute_soon(*command)
        except (ResponseError, ConnectionLost) as error:
            return await self.on_refused(self.place, command, error)


class NodePipeline(AutoPipeline):
    """The pipeline to the node at `place`."""

    def __init__(
        self, url: str, place: str, on_refused: OnRefused, *, deadline_s: float, flush_interval_s: float
    ) -> None:
        super().__init__(url, deadline_s=deadline_s, flush_interval_s=flush_interval_s)
        self._place = place
        self._on_refused = on_refused

    async def _open(self) -> PipelinedConnection:
        connection = await NodeConnection.open(self._url, self._deadline_s)
        assert isinstance(connection, NodeConnection)
        connection.flush_interval_s = self._flush_interval_s
        connection.place, connection.on_refused = self._place, self._on_refused
        return connection


class ClusterNode:
    """The connections to one node: `client` for single calls, `pipeline` for calls that many sessions gather."""

    def __init__(self, place: str, client: Client, pipeline: NodePipeline) -> None:
        self.place = place
        self.client = client
        self.pipeline = pipeline

    async def aclose(self) -> None:
        await self.pipeline.aclose()
        await self.client.aclose()
