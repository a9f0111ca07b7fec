"""The chunks that a job becomes. `python -m tests.support.wire` writes the golden files in tests/data/ai_sdk."""

from __future__ import annotations

from typing import Literal

import orjson
import pytest
from holdfast.gateway.dialects.ai_sdk.message import MAX_BLOCKS, MAX_CALLS
from holdfast.gateway.dialects.ai_sdk.translation import Progress, UiMessageStream
from holdfast.gateway.dialects.dialect import CUT
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import EventId
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap

from tests.support.wire import DATA, LOGS, ai_sdk, log, takeovers, wire

ONLY_IN_7 = ("reset-step", "custom", "steering-message", "tool-approval-response", "reasoning-file")


def stream(version: Literal[6, 7] = 7, name: str | None = None, **fields: bool) -> UiMessageStream:
    """A translation; with a name, for a client that connects after the takeovers of that log."""
    known = () if name is None else takeovers(log(name))
    return UiMessageStream("s1", "j1", version, discards=known, **fields)


def frames(data: bytes) -> list[bytes]:
    return [frame for frame in data.split(b"\n\n") if frame.startswith(b"data: {")]


def parts(data: bytes) -> list[dict[str, object]]:
    return [orjson.loads(frame.removeprefix(b"data: ")) for frame in frames(data)]


def event(seq: int, kind: str, **fields: object) -> Entry:
    body = orjson.dumps({"type": kind, "job_id": "j1", **fields})
    return Entry(EventId(1763683200123, seq), kind, "j1", body, None)


@pytest.mark.parametrize("name", LOGS)
def test_a_log_becomes_its_golden_files(name: str) -> None:
    for file, data in ai_sdk(name).items():
        assert (DATA / "ai_sdk" / file).read_bytes() == data, file


def test_every_golden_file_has_a_log() -> None:
    assert {path.name for path in (DATA / "ai_sdk").glob("*")} == {file for name in LOGS for file in ai_sdk(name)}


@pytest.mark.parametrize("name", LOGS)
@pytest.mark.parametrize("version", [6, 7])
def test_the_chunks_do_not_depend_on_the_pages(name: str, version: Literal[6, 7]) -> None:
    entries = log(name)
    dialect = Numbered(stream(version, name))
    data, state = dialect.opening, dialect.initial_state
    for entry in entries:
        framed, state = dialect.frames(state, [entry])
        data += framed
    assert data == wire(dialect, entries)


@pytest.mark.parametrize("name", LOGS)
def test_a_client_that_reconnects_after_any_chunk_has_each_chunk_once(name: str) -> None:
    """Also across a takeover that was live to it, and that is known when it reconnects."""
    entries = log(name)
    resumed = frames(wire(Numbered(stream(name=name)), entries))
    live = frames(wire(Numbered(stream()), entries))
    assert resumed[: len(live)] == live
    for received in range(1, len(resumed)):
        rest = Numbered(stream(name=name), received)
        assert frames(wire(rest, entries)) == resumed[received:]


def test_a_client_that_has_received_everything_receives_the_end_again() -> None:
    [finish] = parts(wire(Numbered(stream(), 1_000), log("text")))
    assert finish["type"] == "finish"


@pytest.mark.parametrize("name", LOGS)
def test_version_6_receives_nothing_that_it_does_not_know(name: str) -> None:
    for file, data in ai_sdk(name).items():
        if ".v6." in file:
            assert not [part for part in parts(data) if part["type"] in ONLY_IN_7]


@pytest.mark.parametrize("name", [name for name in LOGS if name.startswith("takeover")])
def test_a_replay_is_never_cut_at_a_takeover_that_is_known(name: str) -> None:
    for version in (6, 7):
        assert b"CUT" not in ai_sdk(name)[f"{name}.v{version}.resumed.txt"]


def test_a_known_takeover_keeps_no_chunks_behind_it() -> None:
    name = "takeover-twice"
    dialect = stream(name=name)
    state: object = Progress()
    for entry in log(name):
        assert isinstance(state, Progress)
        state = dialect.translate(state, entry)[1]
    assert isinstance(state, Progress)
    assert state.kept is None


def test_chunks_are_kept_for_known_takeovers_only() -> None:
    state: object = Progress()
    for entry in log("text"):
        assert isinstance(state, Progress)
        state = stream().translate(state, entry)[1]
        assert isinstance(state, Progress)
        assert state.kept is None


def test_viewers_at_one_event_share_their_frames() -> None:
    one = stream().translate(Progress(), log("text")[0])[1]
    other = stream().translate(Progress(), log("text")[0])[1]
    assert one == other
    assert hash(one) == hash(other)
    assert one != Progress()


def test_missing_events_are_an_error_and_a_cut() -> None:
    dialect = Numbered(stream())
    data, state = dialect.gap(dialect.initial_state, Gap("trimmed", EventId(1763683200123, 4)))
    assert [part["type"] for part in parts(data)] == ["error"]
    assert state is CUT


def test_a_stream_that_ends_early_is_cut_for_a_client_that_takes_a_clean_end_for_complete() -> None:
    assert Numbered(stream()).closing(1000) is None


def test_a_stream_that_ends_early_ends_cleanly_for_a_client_that_counts_chunks() -> None:
    assert Numbered(stream(counted=True)).closing(1000) == b""


def test_an_event_of_another_shape_becomes_no_chunk() -> None:
    broken = [event(2, "tool.result"), event(3, "text.delta", text=1, part=0), event(4, "question.asked")]
    assert wire(Numbered(stream()), broken) == Numbered(stream()).opening


def test_what_is_remembered_of_a_job_is_bounded() -> None:
    many = [
        *(event(n, "tool.called", call_id=f"c{n}", name="t", arguments={}) for n in range(1, 400)),
        *(event(n, "text.delta", text="t", part=0, agent=f"a{n}") for n in range(400, 600)),
    ]
    state: object = Progress()
    for entry in many:
        assert isinstance(state, Progress)
        state = stream().translate(state, entry)[1]
    assert isinstance(state, Progress)
    assert len(state.message.calls) == MAX_CALLS
    assert len(state.message.blocks) == MAX_BLOCKS


def test_text_goes_on_behind_events_that_are_not_shown() -> None:
    texts = [part for part in parts(wire(Numbered(stream()), log("usage"))) if part["type"] == "text-start"]
    assert len(texts) == 1
