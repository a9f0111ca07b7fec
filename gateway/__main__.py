"""`python -m holdfast.gateway`: one gateway process, until SIGTERM or SIGINT."""

from __future__ import annotations

import asyncio
import gc
import resource
import socket
import sys
from contextlib import suppress
from types import FrameType

import structlog
import uvicorn
from holdfast.gateway.app import create_app
from holdfast.gateway.listen_host import check_listen_host
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.stream.protocol import ConnectionLimits, HttpServer, set_socket_options
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.settings import read_settings
from holdfast.shared.telemetry import configure

logger = structlog.get_logger()

BAD_SETTINGS = 2
STRAGGLER_SECONDS = 6  # more than Redis may take to answer: no request is cancelled in the middle
GC_THRESHOLDS = (50_000, 20, 100)


class GatewayServer(uvicorn.Server):
    """uvicorn, but a signal that was obeyed is not raised once more at the end, so that the exit code is 0.

    After the grace time connections are dropped: a request whose body never came ends as if its client had left."""

    def __init__(self, config: uvicorn.Config, grace_seconds: float = 10) -> None:
        super().__init__(config)
        self.grace_seconds = grace_seconds

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """The first signal drains, the second one stops waiting."""
        self.force_exit = self.should_exit
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        listeners = [listener for server in self.servers for listener in server.sockets]
        for listener in listeners:  # first of all: who is accepted before that is not limited
            set_socket_options(listener)
        tune_garbage_collector()
        for listener in listeners:
            logger.info("listening", address=listener.getsockname()[:2])

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        logger.info("stopping", connections=len(self.server_state.connections))
        dropping = asyncio.get_running_loop().call_later(self.grace_seconds, self._drop_connections)
        await super().shutdown(sockets)
        dropping.cancel()
        logger.info("stopped")

    def _drop_connections(self) -> None:
        for connection in tuple(self.server_state.connections):
            connection.transport.abort()


def tune_garbage_collector() -> None:
    """What lives as long as the process is never looked at again, the rest less often: shorter pauses for viewers."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def raise_open_files_limit() -> None:
    """Allow this process as many open files, viewers that is, as the system lets it have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems name a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def build_server(settings: GatewaySettings) -> GatewayServer:
    """A server that is ready to `run()` or `await serve()`."""
    http = HttpServer(ConnectionLimits(settings.max_head_bytes, settings.head_seconds, settings.idle_seconds))
    return GatewayServer(
        uvicorn.Config(
            create_app(settings, http.refusals),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=http,  # type: ignore[arg-type]  # uvicorn only calls it
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # nothing here asks who the client is
            server_header=False,
            timeout_graceful_shutdown=settings.gateway_grace_seconds + STRAGGLER_SECONDS,
        ),
        settings.gateway_grace_seconds,
    )


def main() -> None:
    """Run a gateway with the settings of the environment. Exits 2 when one of them cannot be used."""
    try:
        settings = read_settings(GatewaySettings)
        check_listen_host(settings.host)
    except SettingsInvalid as error:
        sys.stderr.writelines(f"holdfast gateway: {line}\n" for line in str(error).splitlines())
        sys.exit(BAD_SETTINGS)
    configure(as_json=settings.log_as_json, process="gateway")
    raise_open_files_limit()
    build_server(settings).run()


if __name__ == "__main__":
    main()
