"""uvicorn's server, with the gateway's own start and stop. With uvicorn.py, all that depends on uvicorn's internals."""

from __future__ import annotations

import asyncio
import gc
import socket
from types import FrameType

import structlog
import uvicorn
from holdfast.gateway.transports.connection import set_socket_options

GC_THRESHOLDS = (50_000, 20, 100)

logger = structlog.get_logger()


class GatewayServer(uvicorn.Server):
    """A uvicorn server that exits with 0 after a signal, since it does not raise the signal again.

    After `grace_seconds` it drops all connections: a request with an incomplete body ends as if its client had
    disconnected. It stops as after a signal once `lifeline`, a descriptor, is readable."""

    def __init__(self, config: uvicorn.Config, grace_seconds: float = 10) -> None:
        super().__init__(config)
        self.grace_seconds = grace_seconds
        self.lifeline: int | None = None

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Drain on the first signal; stop waiting on the second."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        listeners = [listener for server in self.servers for listener in server.sockets]
        for listener in listeners:  # first: connections accepted earlier do not inherit the options
            set_socket_options(listener)
        tune_garbage_collector()
        if self.lifeline is not None:
            asyncio.get_running_loop().add_reader(self.lifeline, self._on_lifeline, self.lifeline)
        for listener in listeners:
            host, port = listener.getsockname()[:2]
            logger.info("listening", host=host, port=port)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("stopping", connections=len(self.server_state.connections))
        dropping = asyncio.get_running_loop().call_later(self.grace_seconds, self._drop_connections)
        await super().shutdown(sockets)
        dropping.cancel()
        logger.info("stopped")

    def _on_lifeline(self, lifeline: int) -> None:
        asyncio.get_running_loop().remove_reader(lifeline)
        self.should_exit = True

    def _drop_connections(self) -> None:
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


def tune_garbage_collector() -> None:
    """Exclude long-lived objects from garbage collection and run it less often, for shorter pauses in delivery."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)
