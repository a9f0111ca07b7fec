"""F38 to F40: whatever an agent says and whatever a client sends as its cursor, on the wire it stays what it is."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import httpx2
import orjson
import pytest
from holdfast.gateway.dialects.sse import SSE
from holdfast.shared.errors import CursorInvalid, EventInvalid
from holdfast.shared.ids import EventId, parse_cursor
from holdfast.shared.log.event_log import Entry
from holdfast.shared.log.events import MAX_EVENT_BYTES
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.support.log import Session
from tests.support.record import Record, a_run
from tests.support.scene import scene
from tests.support.sse import SseParser

NASTY = [
    *("", "\n", "\r", "\r\n", "\n\nevent: done\ndata: x\n\n", "a\r", "\0", "\x85", "\u2028", "\u2029", "\ufeffdata: x"),
    *("id: 1\n", ": comment", "retry: 1", "\x0b\x0c", "\U0001f600", "</script>", "data:"),
]
TEXTS = st.one_of(st.text(), st.sampled_from(NASTY), st.lists(st.sampled_from(NASTY)).map("".join))
EPOCH = 1763683200123
QUICK = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))


def said(text: str) -> bytes:
    """The event of an agent that says this, as it goes into the log."""
    record = Record()
    asyncio.run(a_run(record).emit({"type": "text.delta", "text": text, "part": 0}))
    return orjson.dumps(record.events[0]) if record.events else b""


@QUICK
@given(st.lists(TEXTS, min_size=1, max_size=5), st.integers(1, 7))
def test_f38_f39_two_parsers_of_the_wire_read_just_what_was_said_in_pieces_of_any_size(
    texts: list[str], piece: int
) -> None:
    bodies = [body for text in texts if (body := said(text))]
    entries = [Entry(EventId(EPOCH, n), "text.delta", "j", body, None) for n, body in enumerate(bodies, 1)]
    wire = b"".join(SSE.event(entry) for entry in entries)
    own = SseParser()
    frames = [frame for at in range(0, len(wire), piece) for frame in own.feed(wire[at : at + piece])]
    assert [(frame.id, frame.event, frame.data.encode()) for frame in frames] == [
        (str(entry.id), "message", entry.body) for entry in entries
    ]
    assert [event["data"].encode() for event in by_the_standard(wire)] == bodies
    assert [orjson.loads(frame.data)["text"] for frame in frames] == [text for text in texts if text]


def by_the_standard(wire: bytes) -> Iterator[dict[str, str]]:
    """A second reading, written from the grammar of the standard: events end with a blank line, lines with LF here."""
    text = wire.decode().removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n")
    for block in text.split("\n\n"):
        fields: dict[str, list[str]] = {}
        for line in filter(None, block.split("\n")):
            name, _, value = line.partition(":")
            fields.setdefault(name, []).append(value.removeprefix(" "))
        if "data" in fields:
            yield {"id": fields["id"][-1], "data": "\n".join(fields["data"]), "event": fields.get("event", [""])[-1]}


@QUICK
@given(st.text(alphabet=st.characters(categories=["Cs"]), min_size=1, max_size=3))
def test_f38_half_a_character_is_refused_at_the_agent(text: str) -> None:
    with pytest.raises(EventInvalid):
        said(text)


@pytest.mark.parametrize("size", [MAX_EVENT_BYTES, 1 << 20, 16 << 20])
def test_f38_an_event_that_is_too_large_is_refused_at_the_agent(size: int) -> None:
    with pytest.raises(EventInvalid):
        said("x" * size)


@QUICK
@given(
    st.one_of(st.text(), st.from_regex(r"\A[0-9]{1,17}-[0-9]{1,12}\Z"), st.binary().map(lambda b: b.decode("latin-1")))
)
@example("$")
@example("+")
@example("-")
@example("-1")
@example("0")
@example(">")
@example("1763683200123-1\n")
@example(" 1763683200123-1")
@example("01763683200123-1")
@example("1763683200123-01")
@example("1763683200123-0")
@example("1" * 400 + "-1")
@example("9007199254740992-1")
@example("１763683200123-1")
def test_f40_a_cursor_is_an_id_to_the_letter_or_refused(text: str) -> None:
    try:
        cursor = parse_cursor(text)
    except CursorInvalid:
        return
    assert str(cursor) == text
    assert cursor == EventId(0, 0) or (0 < cursor.epoch < 2**53 and 0 < cursor.seq < 10**10)


async def test_f50_events_and_fields_of_a_newer_worker_pass_through_a_gateway_of_today(redis_url: str) -> None:
    async with scene(redis_url) as play:
        session = Session(redis_url)
        attempt = await session.started()
        play.history.accepted.add(("s", "j1"))
        strange = b'{"type":"of.tomorrow","job_id":"j1","schema":9,"deep":{"a":[null,1.5e300,"\\u2028"]}}'
        entry = {"j1 of.tomorrow": strange, "z": "a field that nobody knows yet"}
        await session.redis.xadd(session.keys.log, entry, id=f"{attempt.epoch}-2")
        await session.redis.hset(session.keys.state, "top", f"{attempt.epoch}-2")
        play.watch()
        await session.finish(attempt, 2)
        await play.verdict()
        url = f"{play.url}/v1/sessions/s/jobs/j1/events"
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert strange.decode() in (await http.get(url)).text
        await session.aclose()
