"""Steps that are done once, though the worker dies in between: what a step came to is recorded, and not done again.

holdfast dev --agents examples.steps

Kill the worker while it ships: another one goes on, the order number stays, and nobody pays twice.
"""

from __future__ import annotations

import asyncio
import secrets

from worker import Run, agent


async def pay(amount: int, *, idempotency_key: str) -> str:
    """Stands for a call to a shop. The key is the same in every attempt: a shop that knows it already does nothing."""
    await asyncio.sleep(0.1)
    return f"order {secrets.token_hex(4)} over {amount} €"


async def ship(order: str) -> str:
    """Takes a while, in which a worker may die."""
    await asyncio.sleep(2)
    return "shipped"


@agent
async def steps(run: Run) -> dict[str, str]:
    """Pay, then ship."""
    await run.status("Paying…")
    order = await run.step("pay", pay, 25)
    await run.text(f"Paid: {order}. ")
    await run.status("Shipping…")
    state = await run.step("ship", ship, order, timeout_s=30)
    await run.text(f"It is {state}.")
    return {"order": order, "state": state}
