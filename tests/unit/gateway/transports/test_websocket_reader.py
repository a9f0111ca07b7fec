"""What a WebSocket client may send, and what closes the connection: the groups of Autobahn's suite."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from holdfast.gateway.transports import websocket_reader
from holdfast.gateway.transports.websocket_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    close_frame,
    frame,
    is_close,
    text_frame,
)
from holdfast.gateway.transports.websocket_reader import (
    PART,
    ProtocolViolation,
    Received,
    WebSocketReader,
    close_code,
    unmasked,
)
from hypothesis import given
from hypothesis import strategies as st

from tests.support.websocket_frames import client_frame, server_frames

LIMIT = 70_000


class BinaryReader(WebSocketReader):
    messages = frozenset({TEXT, BINARY})


def read(wire: bytes, *, piece: int = 0, max_bytes: int = LIMIT) -> list[Received]:
    """What these bytes contain, when they arrive at once or in pieces; parts of messages left out."""
    reader, received = BinaryReader(max_bytes), []
    for start in range(0, len(wire), piece or len(wire)):
        reader.feed(wire[start : start + (piece or len(wire))])
        while (one := reader.next()) is not None:
            received.append(one)
    return [one for one in received if one.opcode != PART]


def refusal(wire: bytes, max_bytes: int = LIMIT) -> tuple[int, str]:
    with pytest.raises(ProtocolViolation) as caught:
        read(wire, max_bytes=max_bytes)
    return caught.value.code, caught.value.reason


class TestFraming:
    @pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, LIMIT])
    @pytest.mark.parametrize("piece", [0, 1000])
    def test_a_message_of_each_form_of_length_arrives(self, size: int, piece: int) -> None:
        assert read(client_frame(TEXT, b"a" * size), piece=piece) == [(TEXT, b"a" * size)]

    def test_messages_arrive_byte_by_byte_as_at_once(self) -> None:
        wire = client_frame(TEXT, "ä€😀".encode()) + client_frame(PING, b"p") + client_frame(TEXT, b"x" * 200)
        assert read(wire, piece=1) == read(wire)

    @given(st.binary(max_size=300), st.binary(min_size=4, max_size=4))
    def test_a_mask_is_applied_byte_by_byte(self, payload: bytes, mask: bytes) -> None:
        assert unmasked(payload, mask) == bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload))

    @given(st.binary(max_size=70_000))
    def test_frames_of_the_server_are_final_and_not_masked(self, payload: bytes) -> None:
        assert server_frames(frame(BINARY, payload) + text_frame(b"x")) == [(BINARY, payload), (TEXT, b"x")]

    def test_nothing_is_kept_between_messages(self) -> None:
        reader = WebSocketReader(LIMIT)
        reader.feed(client_frame(TEXT, b"a"))
        assert not reader.is_empty
        reader.next()
        assert reader.is_empty


class TestRefusedFrames:
    @pytest.mark.parametrize("reserved", range(1, 8))
    @pytest.mark.parametrize("opcode", [TEXT, PING, CLOSE])
    def test_reserved_bits_are_refused(self, reserved: int, opcode: int) -> None:
        assert refusal(client_frame(opcode, b"", reserved=reserved))[0] == 1002

    @pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
    def test_unknown_opcodes_are_refused(self, opcode: int) -> None:
        assert refusal(client_frame(opcode)) == (1002, "unknown opcode")

    def test_a_frame_without_a_mask_is_refused(self) -> None:
        assert refusal(client_frame(TEXT, b"a", masked=False)) == (1002, "frames of a client must be masked")

    def test_a_bad_head_is_refused_before_its_payload_arrives(self) -> None:
        assert refusal(client_frame(TEXT, b"a" * 60_000, reserved=4)[:2])[0] == 1002

    @pytest.mark.parametrize("opcode", [CLOSE, PING, PONG])
    def test_a_control_frame_is_whole_and_short(self, opcode: int) -> None:
        assert refusal(client_frame(opcode, b"", final=False))[0] == 1002
        assert refusal(client_frame(opcode, b"a" * 126))[0] == 1002
        assert read(client_frame(opcode, b"a" * 125)) == [(opcode, b"a" * 125)]


class TestFragments:
    def test_fragments_become_one_message(self) -> None:
        wire = client_frame(TEXT, b"a", final=False) + client_frame(CONTINUATION, b"b", final=False)
        assert read(wire + client_frame(CONTINUATION, b"c")) == [(TEXT, b"abc")]

    def test_control_frames_between_fragments_come_first(self) -> None:
        wire = client_frame(BINARY, b"a", final=False) + client_frame(PING, b"p") + client_frame(CONTINUATION, b"b")
        assert read(wire) == [(PING, b"p"), (BINARY, b"ab")]

    @pytest.mark.parametrize("final", [True, False])
    def test_a_continuation_of_nothing_is_refused(self, *, final: bool) -> None:
        assert refusal(client_frame(CONTINUATION, b"a", final=final))[0] == 1002
        whole = client_frame(TEXT, b"a")
        assert refusal(whole + client_frame(CONTINUATION, b"a", final=final))[0] == 1002

    @pytest.mark.parametrize("opcode", [TEXT, BINARY])
    def test_a_new_message_within_a_message_is_refused(self, opcode: int) -> None:
        assert refusal(client_frame(TEXT, b"a", final=False) + client_frame(opcode, b"b"))[0] == 1002


class TestText:
    @pytest.mark.parametrize(
        "text", ["κόσμε", "\x00", "\x7f", "\ud7ff", "\ue000", "\U0010ffff", "\ufffe", "\U0001fffe"]
    )
    def test_utf_8_is_accepted(self, text: str) -> None:
        assert read(client_frame(TEXT, text.encode())) == [(TEXT, text.encode())]

    @pytest.mark.parametrize(
        "invalid",
        [
            b"\x80",
            b"\xff",
            b"\xc0\xaf",
            b"\xe0\x80\xaf",
            b"\xed\xa0\x80",
            b"\xed\xbf\xbf",
            b"\xf4\x90\x80\x80",
            b"\xce",
            b"a\xf0\x9f\x98",
        ],
    )
    def test_anything_else_is_refused(self, invalid: bytes) -> None:
        assert refusal(client_frame(TEXT, invalid)) == (1007, "text must be valid UTF-8")

    def test_a_character_may_be_split_between_fragments(self) -> None:
        euro = "€".encode()
        wire = client_frame(TEXT, euro[:1], final=False) + client_frame(CONTINUATION, euro[1:])
        assert read(wire) == [(TEXT, euro)]

    def test_binary_messages_may_hold_anything(self) -> None:
        assert read(client_frame(BINARY, b"\xff\xfe")) == [(BINARY, b"\xff\xfe")]


class TestLimits:
    def test_a_message_above_the_limit_is_refused_before_it_arrives(self) -> None:
        head = client_frame(TEXT, b"a" * 101)[:2]
        assert refusal(head, max_bytes=100) == (1009, "a message must have at most 100 bytes")

    def test_the_limit_counts_all_fragments(self) -> None:
        wire = client_frame(TEXT, b"a" * 60, final=False) + client_frame(CONTINUATION, b"a" * 41)
        assert refusal(wire, max_bytes=100)[0] == 1009
        assert read(wire, max_bytes=101) == [(TEXT, b"a" * 101)]

    def test_an_absurd_length_is_refused_at_once(self) -> None:
        assert refusal(b"\x81\xff" + b"\xff" * 8)[0] == 1009

    def test_a_ping_fits_beside_a_message_at_the_limit(self) -> None:
        wire = client_frame(TEXT, b"a" * 100, final=False) + client_frame(PING, b"p" * 125) + client_frame(CONTINUATION)
        assert read(wire, max_bytes=100) == [(PING, b"p" * 125), (TEXT, b"a" * 100)]


class TestParts:
    def test_a_text_is_checked_as_it_arrives(self) -> None:
        reader = WebSocketReader(LIMIT)
        reader.feed(client_frame(TEXT, b"a\xffbc")[:-2])
        with pytest.raises(ProtocolViolation, match="UTF-8"):
            reader.next()

    @given(st.text(max_size=200), st.integers(1, 9), st.integers(0, 200))
    def test_any_text_arrives_in_any_pieces(self, text: str, piece: int, cut: int) -> None:
        wire = client_frame(TEXT, text.encode()[:cut], final=False)
        assert read(wire + client_frame(CONTINUATION, text.encode()[cut:]), piece=piece) == [(TEXT, text.encode())]

    def test_the_end_of_a_large_message_leaves_little_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        sizes: list[int] = []

        def counted(payload: bytes, mask: Sequence[int]) -> bytes:
            sizes.append(len(payload))
            return unmasked(payload, mask)

        monkeypatch.setattr(websocket_reader, "unmasked", counted)
        wire = client_frame(TEXT, b"a" * LIMIT)
        assert read(wire, piece=1000) == [(TEXT, b"a" * LIMIT)]
        assert max(sizes) <= 1000

    def test_a_binary_message_is_refused_before_it_arrives(self) -> None:
        reader = WebSocketReader(LIMIT)
        reader.feed(client_frame(BINARY, b"a", final=False)[:2])
        with pytest.raises(ProtocolViolation, match="only text messages are accepted"):
            reader.next()


class TestClose:
    @pytest.mark.parametrize("code", [1000, 1001, 1002, 1003, 1007, 1011, 1014, 3000, 3999, 4000, 4999])
    def test_a_code_that_may_be_sent_is_accepted(self, code: int) -> None:
        assert close_code(code.to_bytes(2) + "täglich".encode()) == code

    @pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535])
    def test_any_other_code_is_refused(self, code: int) -> None:
        with pytest.raises(ProtocolViolation, match="invalid close code"):
            close_code(code.to_bytes(2))

    def test_half_a_code_and_a_reason_that_is_no_text_are_refused(self) -> None:
        with pytest.raises(ProtocolViolation):
            close_code(b"\x03")
        with pytest.raises(ProtocolViolation, match="UTF-8"):
            close_code(b"\x03\xe8\xff")

    def test_no_code_is_one_of_its_own(self) -> None:
        assert close_code(b"") is None

    def test_a_close_frame_fits_its_limit_and_is_told_from_messages(self) -> None:
        [closing] = server_frames(close_frame(1002, "x" * 200))
        assert closing == (CLOSE, b"\x03\xea" + b"x" * 123)
        assert is_close(close_frame(1000))
        assert not is_close(text_frame(b"x"))
        assert not is_close(b"")
