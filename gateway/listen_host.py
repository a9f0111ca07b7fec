"""Check of HOLDFAST_HOST."""

from __future__ import annotations

import socket

from holdfast.shared.errors import SettingsInvalid


def check_listen_host(host: str) -> None:
    """Check that the host can be bound. Raises SettingsInvalid if it is not an address of this machine."""
    try:
        family, *_, address = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind(address)
    except (OSError, UnicodeError):  # a UnicodeError: a name with an empty label or one above 63 characters
        raise SettingsInvalid(
            f"HOLDFAST_HOST is {host!r}, which is not an address of this machine: "
            "set 127.0.0.1 or ::1, or 0.0.0.0 to listen on all interfaces"
        ) from None
