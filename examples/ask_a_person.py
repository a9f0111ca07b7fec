"""Ask a person. The job waits for the answer as long as it takes, without a slot of its worker, and outlives it.

holdfast dev --agents examples.ask_a_person

The page shows a form. Elsewhere: POST …/jobs/{job_id}/answer {"value": {"when": "tomorrow", "guests": 4}}
"""

from __future__ import annotations

from pydantic import BaseModel, Field

from holdfast import Run, agent


class Booking(BaseModel):
    """What the person fills in."""

    when: str = Field(json_schema_extra={"enum": ["today", "tomorrow"]})
    guests: int = Field(ge=1, le=12)
    outside: bool = False


@agent
async def ask_a_person(run: Run) -> dict[str, object]:
    """Book a table, once somebody has said when and confirmed it."""
    await run.text("I can book that table. ")
    booking = Booking.model_validate(await run.ask("For when, and how many?", Booking.model_json_schema()))
    place = "outside" if booking.outside else "inside"
    await run.text(f"A table {place} for {booking.guests}, {booking.when}. ")
    if not await run.ask("Book it now?", {"type": "boolean"}):
        await run.text("Then not.")
        return {"booked": False}
    await run.text("Done.")
    return {"booked": True, **booking.model_dump()}
