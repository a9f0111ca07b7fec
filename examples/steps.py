"""Steps that are done once, though the worker dies in between: what a step came to is recorded, and not done again.

holdfast dev --agents examples.steps

Kill the worker while it ships: another one goes on. The order number stays, and nobody pays twice; what was said before
the last completed step stays on the page, and only what came behind it is written again.
"""

from __future__ import annotations

import asyncio
import secrets

from holdfast import Run, agent


async def pay(amount: int, *, idempotency_key: str) -> str:
    """Stands for a call to a shop. The key is the same in every attempt: a shop that knows it already does nothing."""
    await asyncio.sleep(0.1)
    return f"order {secrets.token_hex(4)} over {amount} €"


async def pack(order: str) -> int:
    await asyncio.sleep(0.1)
    return len(order)


async def ship(order: str) -> str:
    """Takes a while, in which a worker may die."""
    await asyncio.sleep(2)
    return "shipped"


@agent
async def steps(run: Run) -> dict[str, str]:
    """Pay, pack, then ship."""
    await run.status("Paying…")
    order = await run.step("pay", pay, 25)
    await run.text(f"Paid: {order}. ")
    async with run.section("Parcel", checkpoint=True):  # its end is recorded like a step's
        parts = await run.step("pack", pack, order)
        await run.text(f"Packed in {parts} parts. ")
    await run.status("Shipping…")
    state = await run.step("ship", ship, order, timeout_s=30)
    await run.text(f"It is {state}.")
    return {"order": order, "state": state}
