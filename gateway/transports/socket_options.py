"""TCP options of the sockets that carry streams."""

from __future__ import annotations

import socket

UNANSWERED_MS = 30_000
UNSENT_BYTES = 16 * 1024


def set_socket_options(listener: socket.socket) -> None:
    """Set TCP options of a listening socket, which its accepted connections inherit.

    TCP_USER_TIMEOUT drops a connection whose peer acknowledges nothing (a pulled cable sends no FIN).
    TCP_NOTSENT_LOWAT keeps the unsent data in the kernel small; by default it buffers megabytes and reports the socket
    writable only when a third has been sent."""
    if listener.family == socket.AF_UNIX:
        return
    for name, value in (("TCP_USER_TIMEOUT", UNANSWERED_MS), ("TCP_NOTSENT_LOWAT", UNSENT_BYTES)):
        option = getattr(socket, name, None)  # neither exists on every system
        if option is not None:
            listener.setsockopt(socket.IPPROTO_TCP, option, value)
