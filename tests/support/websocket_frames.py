"""Frames as a WebSocket client sends them, valid or not, and the frames of a server taken apart."""

from __future__ import annotations

from typing import NamedTuple

from holdfast.gateway.transports.websocket_reader import unmasked

MASK = b"\x01\x80\xff\x7e"


def client_frame(
    opcode: int, payload: bytes = b"", *, final: bool = True, reserved: int = 0, masked: bool = True
) -> bytes:
    """One frame. `reserved`: the three reserved bits as a number."""
    size = len(payload)
    head = bytes([final << 7 | reserved << 4 | opcode])
    bit = masked << 7
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += bytes([bit | 126]) + size.to_bytes(2)
    else:
        head += bytes([bit | 127]) + size.to_bytes(8)
    return head + (MASK + unmasked(payload, MASK) if masked else payload)


class ServerFrame(NamedTuple):
    opcode: int
    payload: bytes


def server_frames(wire: bytes) -> list[ServerFrame]:
    """The frames of a server, each of which is whole, final and not masked."""
    frames = []
    while wire:
        assert wire[0] & 0xF0 == 0x80
        assert wire[1] < 128
        extra = {126: 2, 127: 8}.get(wire[1], 0)
        start = 2 + extra
        size = int.from_bytes(wire[2:start]) if extra else wire[1]
        assert len(wire) >= start + size
        frames.append(ServerFrame(wire[0] & 0x0F, wire[start : start + size]))
        wire = wire[start + size :]
    return frames
