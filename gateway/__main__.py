"""`python -m holdfast.gateway`: run one gateway process until SIGTERM or SIGINT."""

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
from holdfast.gateway.hosts import check_listen_host
from holdfast.gateway.principal import Authenticate, anonymous
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.transports.connection import set_socket_options
from holdfast.gateway.transports.request_head import ConnectionLimits
from holdfast.gateway.transports.uvicorn import HttpServer
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.settings import read_settings
from holdfast.shared.telemetry import configure

logger = structlog.get_logger()

BAD_SETTINGS = 2
STRAGGLER_SECONDS = 6  # longer than the Redis timeout, so that no request is cancelled halfway
GC_THRESHOLDS = (50_000, 20, 100)


class GatewayServer(uvicorn.Server):
    """A uvicorn server that exits with 0 after a signal, since it does not raise the signal again.

    After `grace_seconds` it drops all connections: a request with an incomplete body ends as if its client had
    disconnected."""

    def __init__(self, config: uvicorn.Config, grace_seconds: float = 10) -> None:
        super().__init__(config)
        self.grace_seconds = grace_seconds

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
        for listener in listeners:
            host, port = listener.getsockname()[:2]
            logger.info("listening", host=host, port=port)

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
    """Exclude long-lived objects from garbage collection and run it less often, for shorter pauses in delivery."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLDS)


def raise_open_files_limit() -> None:
    """Raise the limit of open files to the hard limit: each viewer needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems report a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def build_server(settings: GatewaySettings, authenticate: Authenticate = anonymous) -> GatewayServer:
    """Build a server, ready for `run()` or `await serve()`."""
    http = HttpServer(ConnectionLimits(settings.max_head_bytes, settings.head_seconds, settings.idle_seconds))
    return GatewayServer(
        uvicorn.Config(
            create_app(settings, http.refusals, authenticate),
            host=settings.host,
            port=settings.port,
            loop="uvloop",
            http=http,  # type: ignore[arg-type]  # uvicorn only calls it
            ws="none",
            lifespan="on",
            log_config=None,
            log_level="warning",
            access_log=False,
            proxy_headers=False,  # the client's address is not used
            server_header=False,
            timeout_graceful_shutdown=settings.gateway_grace_seconds + STRAGGLER_SECONDS,
        ),
        settings.gateway_grace_seconds,
    )


def main() -> None:
    """Run a gateway with the settings from the environment. Exits with 2 if one of them is invalid."""
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
