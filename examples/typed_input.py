"""An agent whose input is checked: a job that does not fit is a 422 that names the field, and never reaches the agent.

holdfast dev --agents examples.typed_input

The page shows a form with the fields of the input.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Literal

from pydantic import BaseModel, Field

from holdfast import Run, agent


class Trip(BaseModel):
    """What a job has to say."""

    city: str = Field(min_length=1)
    days: int = Field(default=1, ge=1, le=14)
    pace: Literal["slow", "fast"] = "slow"


@agent
async def planner(run: Run, trip: Trip) -> AsyncIterator[str]:
    """Plan each day of a trip."""
    for day in range(1, trip.days + 1):
        yield f"Day {day} in {trip.city}: " + ("one museum. " if trip.pace == "slow" else "three museums. ")
        await asyncio.sleep(0.05)


@agent
async def greeter(run: Run, name: str, *, times: int = 1) -> str:
    """Plain type hints do as well. What an agent returns is the job's result."""
    for _ in range(times):
        await run.text(f"Hello {name}. ")
    return name
