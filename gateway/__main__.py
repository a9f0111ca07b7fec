"""`python -m holdfast.gateway`: run one gateway process until SIGTERM or SIGINT."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress

import uvicorn
from holdfast.gateway.app import create_app
from holdfast.gateway.hosts import check_listen_host
from holdfast.gateway.principal import Authenticate, anonymous
from holdfast.gateway.settings import GatewaySettings
from holdfast.gateway.transports.request_head import ConnectionLimits
from holdfast.gateway.transports.uvicorn import HttpServer
from holdfast.gateway.transports.uvicorn_server import GatewayServer
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.settings import read_settings
from holdfast.shared.telemetry import configure

BAD_SETTINGS = 2
STRAGGLER_SECONDS = 6  # longer than the Redis timeout, so that no request is cancelled halfway


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
