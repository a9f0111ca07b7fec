"""Parses the frames that a WebSocket client sends (RFC 6455, section 5). Sans I/O: bytes in, messages out."""

from __future__ import annotations

import codecs
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
    UNSUPPORTED_DATA,
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
_DECODER = codecs.getincrementaldecoder("utf-8")


class WebSocketReader:
    """The received bytes that are not processed yet, and the parts of a message that is incomplete.

    Payloads are unmasked and checked as they arrive: messages that end at once must not block the event loop.

    Args:
        max_bytes: the largest message. Nothing larger is buffered.
    """

    __slots__ = ("_buffer", "_decoder", "_is_final", "_left", "_mask", "_max_bytes", "_message", "_opcode")

    messages = frozenset({TEXT})  # the opcodes of the messages that are accepted

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._message = bytearray()
        self._opcode: int | None = None  # of the incomplete message
        self._decoder: codecs.IncrementalDecoder | None = None  # of an incomplete text
        self._left = 0  # bytes of the payload that the current frame still lacks
        self._mask = b""
        self._is_final = False

    @property
    def is_empty(self) -> bool:
        """Whether nothing is buffered: neither a part of a frame nor a part of a message."""
        return self._opcode is None and not self._buffer

    @property
    def is_within_message(self) -> bool:
        """Whether a message has begun and is incomplete."""
        return self._opcode is not None

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next(self) -> Received | None:
        """Return what the next frame completes; None: more bytes are needed. Raises ProtocolViolation."""
        if self._left:
            return self._take(self._mask, self._left)
        head, buffer = self._head(), self._buffer
        if head is None:
            return None
        opcode, start, size = head
        if len(buffer) < (start + size if opcode >= CLOSE else start):
            return None
        is_final, mask = buffer[0] >= 0x80, bytes(buffer[start - _MASK_BYTES : start])
        if opcode < CLOSE and (self._opcode is not None or not is_final or len(buffer) < start + size):
            self._opcode, self._is_final = opcode or self._opcode, is_final
            del buffer[:start]
            return self._take(mask, size)
        payload = unmasked(bytes(buffer[start : start + size]), mask)
        del buffer[: start + size]
        if opcode == TEXT:
            _check_text(payload)
        return Received(opcode, payload)

    def _head(self) -> tuple[int, int, int] | None:
        """Return opcode, start and size of the payload of the next frame. Raises ProtocolViolation."""
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
        return opcode, start + _MASK_BYTES, size

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
        elif opcode != CONTINUATION and opcode not in self.messages:
            raise ProtocolViolation(UNSUPPORTED_DATA, "only text messages are accepted")

    def _take(self, mask: bytes, size: int) -> Received | None:
        """Add what has arrived of a frame's payload to its message. `size`: what the frame still lacks."""
        payload = unmasked(bytes(self._buffer[:size]), mask)
        del self._buffer[:size]
        self._left, at = size - len(payload), len(payload) % _MASK_BYTES
        self._mask = mask[at:] + mask[:at]
        ends = self._is_final and not self._left
        if self._opcode == TEXT:
            if self._decoder is None:
                self._decoder = _DECODER()
            _check_text(payload, self._decoder, ends=ends)
        self._message += payload
        if not ends:
            return None if self._left else _PART
        assert self._opcode is not None
        received = Received(self._opcode, bytes(self._message))
        self._message, self._opcode, self._decoder = bytearray(), None, None
        return received


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


def _check_text(payload: bytes, decoder: codecs.IncrementalDecoder | None = None, *, ends: bool = True) -> None:
    """Check a text, or the next part of one. Raises ProtocolViolation."""
    try:
        if decoder is None:
            payload.decode()
        else:
            decoder.decode(payload, ends)
    except UnicodeDecodeError:
        raise ProtocolViolation(INVALID_TEXT, "text must be valid UTF-8") from None


def _violation(reason: str) -> ProtocolViolation:
    return ProtocolViolation(PROTOCOL_ERROR, reason)
