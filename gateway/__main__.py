"""`python -m holdfast.gateway`: run the gateway processes of one address until SIGTERM or SIGINT."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress

import structlog
import uvicorn
from holdfast.gateway.app import create_app
from holdfast.gateway.authentication.authentication import check_authentication
from holdfast.gateway.hosts import check_listen_host, is_loopback
from holdfast.gateway.principal import Authenticate
from holdfast.gateway.processes import PortTaken, Processes, listeners, reserve
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.transports.request_head import ConnectionLimits
from holdfast.gateway.transports.uvicorn import HttpServer
from holdfast.gateway.transports.uvicorn_server import GatewayServer
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.metrics.listener import check_free
from holdfast.shared.settings import read_settings
from holdfast.shared.telemetry import configure
from holdfast.shared.tracing import check_tracing

logger = structlog.get_logger()

BAD_SETTINGS = 2
# No browser guesses another type, and no other site learns the address of a session.
_FIELDS = [("X-Content-Type-Options", "nosniff"), ("Referrer-Policy", "no-referrer")]
STRAGGLER_SECONDS = 6  # longer than the Redis timeout, so that no request is cancelled halfway


def raise_open_files_limit() -> None:
    """Raise the limit of open files to the hard limit: each viewer needs one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    with suppress(ValueError, OSError):  # some systems report a limit that they do not grant
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def build_server(settings: GatewaySettings, authenticate: Authenticate | None = None) -> GatewayServer:
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
            headers=_FIELDS,
            timeout_graceful_shutdown=settings.gateway_grace_seconds + STRAGGLER_SECONDS,
        ),
        settings.gateway_grace_seconds,
    )


def main() -> None:
    """Run a gateway with the settings from the environment. Exits with 2 if one of them is invalid."""
    try:
        settings = read_settings(GatewaySettings)
        check_listen_host(settings.host)
        check_authentication(settings)
        check_metrics_ports(settings)
        check_tracing(settings.otlp_endpoint)
    except SettingsInvalid as error:
        sys.stderr.writelines(f"holdfast gateway: {line}\n" for line in str(error).splitlines())
        sys.exit(BAD_SETTINGS)
    configure(as_json=settings.log_as_json, process="gateway")
    if not settings.authenticates and not is_loopback(settings.host):
        logger.warning("authentication is off: whoever can connect can use every session", host=settings.host)
    raise_open_files_limit()
    if settings.gateway_processes == 1:
        build_server(settings).run()
    else:
        run_processes(settings)


def check_metrics_ports(settings: GatewaySettings) -> None:
    """Raise SettingsInvalid if a process could not listen on its port for metrics."""
    for number in range(settings.gateway_processes):
        if (port := metrics_port(settings, number)) is not None:
            check_free(settings.metrics_host, port)


def metrics_port(settings: GatewaySettings, number: int) -> int | None:
    """Return the port for the metrics of one of several processes, which count from 0."""
    return None if settings.metrics_port is None else settings.metrics_port + number


def run_processes(settings: GatewaySettings) -> None:
    """Run several processes on one port. Exits with 1 if it is taken."""
    try:
        settings = settings.model_copy(update={"port": reserve(settings.host, settings.port)})
    except PortTaken as error:
        sys.exit(f"holdfast gateway: {error}")

    def serve(number: int, lifeline: int) -> None:
        configure(as_json=settings.log_as_json, process=f"gateway-{number}")
        server = build_server(settings.model_copy(update={"metrics_port": metrics_port(settings, number)}))
        server.lifeline = lifeline
        server.run(listeners(settings.host, settings.port))

    Processes(serve).run(settings.gateway_processes)


if __name__ == "__main__":
    main()
