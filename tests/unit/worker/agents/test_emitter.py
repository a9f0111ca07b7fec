from __future__ import annotations

from holdfast.worker.agents.emitter import AnswerEmitter, Pieces, whole

from tests.support.record import Record, a_run


async def test_each_kind_numbers_its_blocks_through_the_job() -> None:
    record = Record()
    emitter = AnswerEmitter(a_run(record))
    await emitter.reasoning("hm")
    await emitter.text("a")
    await emitter.text("b")
    await emitter.reasoning("hm again")
    emitter.pause()
    await emitter.reasoning("and again")
    await emitter.text("c")

    assert [(event["type"][:4], event["part"]) for event in record.events] == [
        ("reas", 0),
        ("text", 0),
        ("text", 0),
        ("reas", 1),
        ("reas", 2),
        ("text", 1),
    ]


async def test_an_empty_piece_begins_no_block() -> None:
    record = Record()
    emitter = AnswerEmitter(a_run(record))
    await emitter.text("a")
    await emitter.reasoning("")
    await emitter.text("b")

    assert [event["part"] for event in record.events] == [0, 0]


def test_a_character_that_was_cut_in_two_comes_with_its_second_half() -> None:
    pieces = Pieces()

    assert [pieces.add(piece) for piece in ("a\ud83d", "\ude80b", "c")] == ["a", "🚀b", "c"]


def test_a_half_without_its_other_half_is_replaced() -> None:
    pieces = Pieces()

    assert [pieces.add(piece) for piece in ("\ude80", "\ud83d", "x")] == ["�", "", "�x"]
    assert whole("\ud83d") == "�"
