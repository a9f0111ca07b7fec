from __future__ import annotations

import asyncio

import pytest
from holdfast.gateway.cpu_slot import LARGE_BYTES, CpuSlot


async def iterations(cpu_slot: CpuSlot, size: int, steps: int) -> list[int]:
    """Return the iterations of the event loop in which the steps of several bodies run."""
    loop = asyncio.get_running_loop()
    iteration = 0

    def count() -> None:
        nonlocal iteration
        iteration += 1
        counting.append(loop.call_soon(count))

    async def body() -> list[int]:
        return [await cpu_slot.run(size, lambda: iteration) for _ in range(steps)]

    counting = [loop.call_soon(count)]
    taken = await asyncio.gather(*(body() for _ in range(5)))
    counting[-1].cancel()
    return [step for steps_of_one in taken for step in steps_of_one]


async def test_at_most_one_step_of_a_large_body_runs_per_iteration() -> None:
    taken = await iterations(CpuSlot(), LARGE_BYTES, steps=4)
    assert len(set(taken)) == len(taken) == 20


async def test_a_small_body_does_not_wait() -> None:
    assert len(set(await iterations(CpuSlot(), LARGE_BYTES - 1, steps=4))) == 1


async def test_a_step_that_raises_releases_the_slot() -> None:
    cpu_slot = CpuSlot()
    with pytest.raises(ZeroDivisionError):
        await cpu_slot.run(LARGE_BYTES, lambda: 1 // 0)
    assert await cpu_slot.run(LARGE_BYTES, str, 5) == "5"
