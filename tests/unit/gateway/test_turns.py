from __future__ import annotations

import asyncio

import pytest
from holdfast.gateway.turns import LARGE_BYTES, Turns


async def iterations(turns: Turns, size: int, steps: int) -> list[int]:
    """In which iterations of the event loop the steps of several bodies are taken."""
    loop = asyncio.get_running_loop()
    iteration = 0

    def count() -> None:
        nonlocal iteration
        iteration += 1
        counting.append(loop.call_soon(count))

    async def body() -> list[int]:
        return [await turns.take(size, lambda: iteration) for _ in range(steps)]

    counting = [loop.call_soon(count)]
    taken = await asyncio.gather(*(body() for _ in range(5)))
    counting[-1].cancel()
    return [step for steps_of_one in taken for step in steps_of_one]


async def test_an_iteration_of_the_loop_takes_one_step_of_one_large_body() -> None:
    taken = await iterations(Turns(), LARGE_BYTES, steps=4)
    assert len(set(taken)) == len(taken) == 20


async def test_a_small_body_waits_for_nobody() -> None:
    assert len(set(await iterations(Turns(), LARGE_BYTES - 1, steps=4))) == 1


async def test_a_step_that_raises_leaves_the_turn_to_the_next() -> None:
    turns = Turns()
    with pytest.raises(ZeroDivisionError):
        await turns.take(LARGE_BYTES, lambda: 1 // 0)
    assert await turns.take(LARGE_BYTES, str, 5) == "5"
