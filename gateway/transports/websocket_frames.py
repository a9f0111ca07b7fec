"""WebSocket frames as a server sends them (RFC 6455, section 5.2): not masked, and each a whole message. Pure."""

from __future__ import annotations

# Opcodes: what a frame carries. Plain integers, which an Enum takes five times as long to combine.
CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

# Why a connection is closed (RFC 6455, section 7.4.1, and the registry of IANA).
NORMAL = 1000
PROTOCOL_ERROR = 1002
UNSUPPORTED_DATA = 1003
INVALID_TEXT = 1007
POLICY_VIOLATION = 1008
TOO_BIG = 1009
TRY_AGAIN_LATER = 1013

_FINAL = 0x80
_MAX_REASON_BYTES = 123


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a frame. The payload of a control frame has at most 125 bytes."""
    size = len(payload)
    if size < 126:
        return b"%c%c%b" % (_FINAL | opcode, size, payload)
    if size < 65536:
        return b"%c\x7e%b%b" % (_FINAL | opcode, size.to_bytes(2), payload)
    return b"%c\x7f%b%b" % (_FINAL | opcode, size.to_bytes(8), payload)


def text_frame(payload: bytes) -> bytes:
    """Return the frame of a text message in UTF-8."""
    return frame(TEXT, payload)


def close_frame(code: int, reason: str = "") -> bytes:
    """Return a close frame. `reason` is ASCII, and is cut to what fits."""
    return frame(CLOSE, code.to_bytes(2) + reason.encode("ascii", "replace")[:_MAX_REASON_BYTES])


NO_STATUS_CLOSE = frame(CLOSE, b"")
UNSOLICITED_PONG = frame(PONG, b"")  # a heartbeat that needs no answer (RFC 6455, section 5.5.3)


def is_close(data: bytes) -> bool:
    """Return whether these frames begin with a close frame."""
    return data[:1] == b"\x88"
