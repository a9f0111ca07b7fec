"""The chunks that a job becomes. `python -m tests.support.wire` writes the golden files in tests/data/ai_sdk."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import orjson
import pytest
from holdfast.gateway.dialects.ai_sdk.message import MAX_BLOCKS, MAX_CALLS
from holdfast.gateway.dialects.ai_sdk.translation import MAX_KEPT_BYTES, Progress, UiMessageStream
from holdfast.gateway.dialects.dialect import CUT
from holdfast.gateway.dialects.translation import Numbered
from holdfast.shared.ids import EventId
from holdfast.shared.log.discards import Discard
from holdfast.shared.log.entries import Entry
from holdfast.shared.log.event_log import Gap

from tests.support.wire import DATA, LOGS, ai_sdk, log, takeovers, wire

ONLY_IN_7 = ("reset-step", "custom", "steering-message", "tool-approval-response", "reasoning-file")


def stream(version: Literal[6, 7] = 7, name: str | None = None, *, counted: bool = False) -> UiMessageStream:
    """A translation; with a name, for a client that connects after the takeovers of that log."""
    known = () if name is None else takeovers(log(name))
    return UiMessageStream("s1", "j1", version, counted, discards=known)


def last_state(translation: UiMessageStream, entries: Iterable[Entry]) -> Progress:
    state: object = Progress()
    for entry in entries:
        assert isinstance(state, Progress)
        state = translation.translate(state, entry)[1]
    assert isinstance(state, Progress)
    return state


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
    resumed = frames(wire(Numbered(stream(name=name, counted=True)), entries))
    live = frames(wire(Numbered(stream(counted=True)), entries))
    assert resumed[: len(live)] == live
    for received in range(1, len(resumed)):
        rest = Numbered(stream(name=name, counted=True), received)
        assert frames(wire(rest, entries)) == resumed[received:]


def test_a_client_that_has_received_everything_receives_the_end_again() -> None:
    [finish] = parts(wire(Numbered(stream(), 1_000), log("text")))
    assert finish["type"] == "finish"


@pytest.mark.parametrize("name", LOGS)
def test_version_6_receives_nothing_that_it_does_not_know(name: str) -> None:
    for file, data in ai_sdk(name).items():
        if ".v6." in file:
            assert not [part for part in parts(data) if part["type"] in ONLY_IN_7]


TAKEOVERS = [name for name in LOGS if name.startswith("takeover")]


@pytest.mark.parametrize("name", TAKEOVERS)
def test_a_replay_is_never_cut_at_a_takeover_that_is_known(name: str) -> None:
    for kind in ("resumed", "workflow"):
        assert b"CUT" not in ai_sdk(name)[f"{name}.{kind}.txt"]


@pytest.mark.parametrize("name", TAKEOVERS)
def test_a_replay_of_both_versions_leaves_out_what_does_not_count(name: str) -> None:
    replays = [wire(Numbered(stream(version, name)), log(name)) for version in (6, 7)]
    assert replays[0] == replays[1]
    assert b"reset-step" not in replays[0]


def merged(name: str) -> tuple[Discard, ...]:
    """Return the takeovers as a job's record has them: a later one replaces those behind its first event."""
    found: list[Discard] = []
    for discard in takeovers(log(name)):
        found = [*(other for other in found if other.first < discard.first), discard]
    return tuple(found)


@pytest.mark.parametrize("name", TAKEOVERS)
def test_the_takeovers_in_the_record_of_the_job_suffice(name: str) -> None:
    from_log, from_record = (
        UiMessageStream("s1", "j1", 7, counted=True, discards=known) for known in (takeovers(log(name)), merged(name))
    )
    assert wire(Numbered(from_record), log(name)) == wire(Numbered(from_log), log(name))


def test_chunks_are_kept_up_to_the_last_known_takeover() -> None:
    name = "takeover-twice"
    assert last_state(stream(name=name, counted=True), log(name)[:2]).kept is not None
    assert last_state(stream(name=name, counted=True), log(name)).kept is None
    assert last_state(stream(name=name), log(name)[:2]).kept is None
    assert last_state(stream(counted=True), log("text")).kept is None


def long_takeover(length: int) -> tuple[UiMessageStream, list[Entry]]:
    """A job that is taken over behind eight texts of this length and one more, which does not count."""
    texts = [event(seq, "text.delta", text="t" * length, part=0) for seq in range(2, 10)]
    lost = event(10, "text.delta", text="t", part=0)
    start = event(11, "job.started", discard_from=str(lost.id))
    known = (Discard("j1", lost.id, start.id),)
    return UiMessageStream("s1", "j1", 7, counted=True, discards=known), [
        *texts,
        lost,
        start,
        event(12, "job.completed"),
    ]


@pytest.mark.parametrize(
    ("length", "ends"),
    [
        (MAX_KEPT_BYTES // 8 - 1000, ["text-end", "finish-step", "finish"]),
        (MAX_KEPT_BYTES // 8, ["message-metadata", "error", "finish"]),
    ],
)
def test_an_answer_that_is_too_long_to_be_sent_again_is_lost_to_a_client_that_counts(
    length: int, ends: list[str]
) -> None:
    translation, entries = long_takeover(length)
    assert [part["type"] for part in parts(wire(Numbered(translation), entries)[-1000:])][-3:] == ends


def test_viewers_at_one_event_share_their_frames() -> None:
    one = stream().translate(Progress(), log("text")[0])[1]
    other = stream().translate(Progress(), log("text")[0])[1]
    assert one == other
    assert hash(one) == hash(other)
    assert one != Progress()


def test_missing_events_are_an_error_and_a_cut() -> None:
    dialect = Numbered(stream())
    data, state = dialect.gap(dialect.initial_state, Gap("trimmed", EventId(1763683200123, 4)))
    assert [part["type"] for part in parts(data)] == ["message-metadata", "error", "finish"]
    assert parts(data)[0]["messageMetadata"] == {"status": "lost"}
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
    state = last_state(stream(), many)
    assert len(state.message.calls) == MAX_CALLS
    assert len(state.message.blocks) == MAX_BLOCKS


def test_a_call_without_a_result_is_remembered_longer_than_those_with_one() -> None:
    waiting = event(1, "tool.called", call_id="waiting", name="t", arguments={})
    done = [
        event(2 * n + part, kind, call_id=f"c{n}", name="t", arguments={}, result=1)
        for n in range(1, 2 * MAX_CALLS)
        for part, kind in enumerate(("tool.called", "tool.result"))
    ]
    output = event(10_000, "tool.result", call_id="waiting", result=1)
    found = parts(wire(Numbered(stream()), [waiting, *done, output]))
    assert [part["type"] for part in found if part.get("toolCallId") == "waiting"] == [
        "tool-input-available",
        "tool-output-available",
    ]


@pytest.mark.parametrize("kind", ["job.completed", "job.failed", "job.cancelled", "session.deleted"])
@pytest.mark.parametrize("body", [b"{", b"[]", b"{}", b'{"error":null,"by":null}'])
def test_a_malformed_end_is_an_end(kind: str, body: bytes) -> None:
    found = parts(wire(Numbered(stream()), [Entry(EventId(1, 1), kind, "j1", body, None)]))
    assert found[-1]["type"] == "finish"
    assert "null" not in [part.get("errorText", part.get("reason")) for part in found]


def test_a_sum_of_tokens_is_a_number_that_every_client_can_read() -> None:
    huge = [event(n, "usage", input_tokens=1 << 63, output_tokens=1 << 63, model="m") for n in range(2, 6)]
    usage = parts(wire(Numbered(stream()), huge))[-1]["messageMetadata"]
    assert usage == {"usage": {"inputTokens": 1 << 53, "outputTokens": 1 << 53, "totalTokens": 1 << 54}}


def test_a_question_without_a_prompt_has_no_text() -> None:
    asked = event(2, "question.asked", question_id="q1", prompt=None, schema=None)
    assert [part["type"] for part in parts(wire(Numbered(stream()), [asked]))][2:] == ["data-question"]


def test_a_prompt_is_a_paragraph_of_its_own_where_a_page_joins_the_texts() -> None:
    asked = event(3, "question.asked", question_id="q1", prompt="Which color?", schema=None)
    answer = event(4, "text.delta", text="you said red", part=0)
    joined = "".join(str(part.get("delta", "")) for part in parts(wire(Numbered(stream()), [asked, answer])))
    assert joined == "Which color?\n\nyou said red"
    before = event(2, "text.delta", text="before", part=0)
    joined = "".join(str(part.get("delta", "")) for part in parts(wire(Numbered(stream()), [before, asked, answer])))
    assert joined == "before\n\nWhich color?\n\nyou said red"


def test_usage_is_sent_once_behind_a_reset() -> None:
    found = parts(ai_sdk("takeover-in-the-middle")["takeover-in-the-middle.workflow.txt"])
    behind = found[[part["type"] for part in found].index("reset-step") :]
    assert len([part for part in behind if part["type"] == "message-metadata"]) == 1


def test_text_goes_on_behind_events_that_are_not_shown() -> None:
    texts = [part for part in parts(wire(Numbered(stream()), log("usage"))) if part["type"] == "text-start"]
    assert len(texts) == 1
