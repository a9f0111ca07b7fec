"""Parses the frames that a WebSocket client sends (RFC 6455, section 5). Sans I/O: bytes in, messages out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from holdfast.gateway.transports.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    INVALID_TEXT,
    PONG,
    PROTOCOL_ERROR,
    TEXT,
    TOO_BIG,
)

PART = -1
_MAX_CONTROL_BYTES = 125
_MASK_BYTES = 4
_XOR = [bytes(byte ^ key for byte in range(256)) for key in range(256)]
# The codes that an endpoint may send: those of RFC 6455, those registered since, and the ranges for applications.
_SENDABLE = frozenset({*range(1000, 1004), *range(1007, 1015)})


class ProtocolViolation(Exception):
    """The client broke the protocol or a limit. The connection is closed with `code` and `reason`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Received(NamedTuple):
    """A whole message (TEXT in valid UTF-8, or BINARY), a control frame, or a part of a message (PART, empty)."""

    opcode: int
    payload: bytes


_PART = Received(PART, b"")


class WebSocketReader:
    """The received bytes that are not processed yet, and the parts of a message that is incomplete.

    Args:
        max_bytes: the largest message. Nothing larger is buffered.
    """

    __slots__ = ("_buffer", "_max_bytes", "_message", "_opcode")

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._message = bytearray()
        self._opcode: int | None = None  # of the incomplete message

    @property
    def is_empty(self) -> bool:
        """Whether nothing is buffered: neither a part of a frame nor a part of a message."""
        return self._opcode is None and not self._buffer

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next(self) -> Received | None:
        """Return what the next frame completes; None: more bytes are needed. Raises ProtocolViolation."""
        buffer = self._buffer
        if len(buffer) < 2:
            return None
        opcode, start, size = buffer[0] & 0x0F, 2, buffer[1] & 0x7F
        self._check_head(opcode, buffer[0], buffer[1])
        if size > _MAX_CONTROL_BYTES:
            start = 4 if size == 126 else 10
            if len(buffer) < start:
                return None
            size = int.from_bytes(buffer[2:start])
        if opcode < CLOSE and len(self._message) + size > self._max_bytes:
            raise ProtocolViolation(TOO_BIG, f"a message must have at most {self._max_bytes} bytes")
        end = start + _MASK_BYTES + size
        if len(buffer) < end:
            return None
        is_final = buffer[0] >= 0x80
        payload = unmasked(bytes(buffer[start + _MASK_BYTES : end]), buffer[start : start + _MASK_BYTES])
        del buffer[:end]
        return Received(opcode, payload) if opcode >= CLOSE else self._joined(opcode, payload, is_final=is_final)

    def _check_head(self, opcode: int, first: int, second: int) -> None:
        """Check the first two bytes of a frame. Raises ProtocolViolation."""
        if first & 0x70:
            raise _violation("the reserved bits must be 0: no extension was negotiated")
        if not second & 0x80:
            raise _violation("frames of a client must be masked")
        if BINARY < opcode < CLOSE or opcode > PONG:
            raise _violation("unknown opcode")
        if opcode >= CLOSE:
            if first < 0x80 or second & 0x7F > _MAX_CONTROL_BYTES:
                raise _violation("a control frame must be whole and have at most 125 bytes")
        elif (opcode == CONTINUATION) != (self._opcode is not None):
            raise _violation("a continuation must follow the unfinished part of a message, and nothing else may")

    def _joined(self, opcode: int, payload: bytes, *, is_final: bool) -> Received:
        """Add the payload of a frame to its message."""
        if self._opcode is None and is_final:
            return _whole(opcode, payload)
        if self._opcode is None:
            self._opcode = opcode
        self._message += payload
        if not is_final:
            return _PART
        opcode, payload = self._opcode, bytes(self._message)
        self._message, self._opcode = bytearray(), None
        return _whole(opcode, payload)


def unmasked(payload: bytes, mask: Sequence[int]) -> bytes:
    """Apply the 4 bytes of a frame's mask (RFC 6455, section 5.3): every fourth byte with the same one."""
    out = bytearray(len(payload))
    for lane in range(_MASK_BYTES):
        out[lane::_MASK_BYTES] = payload[lane::_MASK_BYTES].translate(_XOR[mask[lane]])
    return bytes(out)


def close_code(payload: bytes) -> int | None:
    """Return the code in the payload of a close frame, None if it has none. Raises ProtocolViolation."""
    if not payload:
        return None
    code = int.from_bytes(payload[:2])
    if len(payload) < 2 or not (code in _SENDABLE or 3000 <= code < 5000):
        raise _violation("invalid close code")
    _check_text(payload[2:])
    return code


def _whole(opcode: int, payload: bytes) -> Received:
    if opcode == TEXT:
        _check_text(payload)
    return Received(opcode, payload)


def _check_text(payload: bytes) -> None:
    try:
        payload.decode()
    except UnicodeDecodeError:
        raise ProtocolViolation(INVALID_TEXT, "text must be valid UTF-8") from None


def _violation(reason: str) -> ProtocolViolation:
    return ProtocolViolation(PROTOCOL_ERROR, reason)
