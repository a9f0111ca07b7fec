"""HTTP transports with a content coding."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from holdfast.gateway.coding import Coding, Encoder
from holdfast.gateway.transports.http import HttpTransport, StreamConnection


class EncodedHttpTransport(HttpTransport):
    """Encodes each write so that the client can decode it immediately. An encoder takes 30 to 90 KiB of memory."""

    __slots__ = ("_encoder",)

    def __init__(self, encoder: Encoder, connection: StreamConnection, head: bytes, **how: bool) -> None:
        super().__init__(connection, head, **how)
        self._encoder = encoder

    def write(self, data: bytes, *, more: bool = True) -> None:
        if not self.closed:
            super().write(self._encoder.encode(data, last=not more), more=more)


def transport_for(coding: Coding | None) -> Callable[..., HttpTransport]:
    """Return the constructor of the transport of a stream with this coding."""
    return HttpTransport if coding is None else partial(EncodedHttpTransport, coding.encoder())


def coding_field(coding: Coding | None) -> bytes:
    """Return the encoded Content-Encoding field of a stream with this coding; empty without one."""
    return b"" if coding is None else b"content-encoding: %b\r\n" % coding.name
