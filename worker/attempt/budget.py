"""Count what the attempts of a job use, and stop the job when that exceeds its budget."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import orjson
from holdfast.shared.budget import (
    AMOUNTS,
    Amounts,
    BudgetExceeded,
    PriceUnknown,
    exceeded,
    left_of,
    read_amounts,
    write_amounts,
)
from holdfast.shared.day_usage import DayUsage
from holdfast.shared.errors import Fenced, HoldfastError, LogGone
from holdfast.shared.owner import tenant_of
from holdfast.shared.redis.errors import RedisError
from holdfast.worker.agents.prices import Prices
from holdfast.worker.attempt.attempt_context import AttemptContext
from holdfast.worker.attempt.ending import Ending, failed
from holdfast.worker.attempt.journal import Step
from holdfast.worker.sdk.run import RunEnded, Sink

COUNTED = frozenset({"usage", "tool.started", "tool.called"})
RECORD_SECONDS = 5.0  # interval at which the run time is recorded, at most a tenth of its budget


class Meter:
    """Counts events against limits. `used`: the amounts of earlier attempts, then of all attempts."""

    def __init__(self, limits: Amounts, used: Amounts, prices: Prices) -> None:
        self.limits = limits
        self.used = {name: used.get(name, 0) for name in AMOUNTS}
        self._prices = prices
        self._open_calls: set[tuple[str | None, str]] = set()

    def add(self, kind: str, body: bytes) -> PriceUnknown | None:
        """Count an event. Returns an error where its cost has a limit and is unknown."""
        self.used["events"] += 1
        if kind == "usage":
            return self._add_usage(orjson.loads(body))
        if kind in COUNTED and self._begins_call(kind, body):
            self.used["tool_calls"] += 1
        return None

    def keep(self, kind: str, body: bytes) -> None:
        """Note an event that an earlier attempt emitted and counted."""
        if kind in COUNTED and kind != "usage":
            self._begins_call(kind, body)

    def unpriced(self) -> PriceUnknown | None:
        """Return an error where the cost has a limit and no model has a price."""
        return PriceUnknown() if "cost_usd" in self.limits and not self._prices else None

    def _add_usage(self, usage: dict[str, Any]) -> PriceUnknown | None:
        self.used["tokens"] += usage["input_tokens"] + usage["output_tokens"]
        cost = self._prices.cost_usd(usage["model"], usage["input_tokens"], usage["output_tokens"])
        if cost is not None:
            self.used["cost_usd"] += cost
        elif "cost_usd" in self.limits:
            return PriceUnknown(usage["model"])
        return None

    def _begins_call(self, kind: str, body: bytes) -> bool:
        """Return whether this is the first event of a tool call: agents may omit `tool.started`."""
        event = orjson.loads(body)
        call = event.get("agent"), event["call_id"]
        if kind == "tool.started":
            self._open_calls.add(call)
            return True
        known = call in self._open_calls
        self._open_calls.discard(call)
        return not known


class Budget:
    """The budget of an attempt's job. It is an emitter: events pass through it to the writer, and are counted.

    What an event uses is recorded before the event is written. So a takeover knows at least what the log shows."""

    def __init__(self, context: AttemptContext, writer: Sink, prices: Prices, day_usage: DayUsage | None) -> None:
        attempt = context.attempt
        self.ending: Ending | None = None
        self.meter = Meter(read_amounts(attempt.budget), read_amounts(attempt.spent), prices)
        self._context = context
        self._writer = writer
        self._earlier_s = self.meter.used["seconds"]
        self._run_time_s: Callable[[], float] = float
        self._recording = asyncio.Lock()
        self._day_usage = day_usage
        self._reported = dict(self.meter.used)
        self._recorder: asyncio.Task[None] | None = None

    @property
    def left_s(self) -> float:
        """The run time that earlier attempts left."""
        return max(self.meter.limits.get("seconds", float("inf")) - self._earlier_s, 0)

    def left(self) -> Amounts:
        """Return what is left now, see `left_of`."""
        return left_of(self.meter.limits, self.meter.used | {"seconds": self._seconds()})

    async def start(self, run_time_s: Callable[[], float]) -> Ending | None:
        """Start to count. Returns the ending of a job to which its earlier attempts or its tenant's day left nothing.

        `run_time_s`: returns the run time of this attempt so far."""
        self._run_time_s = run_time_s
        meter = self.meter
        error = exceeded(meter.limits, meter.used) or meter.unpriced() or await self._nothing_left_of_day()
        if error is not None:
            self._stop(error)
        else:
            self._recorder = asyncio.create_task(self._record_regularly())
        return self.ending

    def close(self) -> None:
        """Stop recording at intervals."""
        if self._recorder is not None:
            self._recorder.cancel()

    def time_out(self) -> None:
        """Stop the job since its run time is used up."""
        self.meter.used["seconds"] = self._seconds()
        self._stop(BudgetExceeded("seconds", self.meter.limits["seconds"]))

    async def check_day(self) -> None:
        """Raise RunEnded where nothing is left of the tenant's day, which ends the job."""
        error = await self._nothing_left_of_day()
        if error is not None:
            self._stop(error)
            raise RunEnded from error

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        """Count an event and write it. Raises RunEnded where it exceeds the budget, which ends the job."""
        meter = self.meter
        error = meter.add(kind, body) or exceeded(meter.limits, meter.used)
        if kind in COUNTED:
            await self.record()
        if error is None or kind == "usage":  # what exceeds the budget otherwise does not take place
            await self._writer.put(kind, body, step)
        if error is not None:
            self._stop(error)
            raise RunEnded from error

    async def flush(self) -> None:
        await self._writer.flush()

    async def record(self) -> None:
        """Record what is used so far in the job's record. Raises Fenced, LogGone."""
        context, attempt = self._context, self._context.attempt
        async with self._recording:  # in order: a later record has all of an earlier one
            self.meter.used["seconds"] = self._seconds()
            spent = write_amounts(self.meter.used)
            await context.retry(context.log_writer.spend, attempt.session_id, attempt.epoch, spent)
            if self._day_usage is not None:
                await self._report(self._day_usage)

    async def _report(self, day_usage: DayUsage) -> None:
        """Add what was not reported to the usage of the tenant's day. A failure is repeated by the next record."""
        used = dict(self.meter.used)
        new = {name: amount - self._reported[name] for name, amount in used.items()}
        try:
            exhausted = await day_usage.add(tenant_of(self._context.attempt.session_id), new)
        except RedisError:
            return
        self._reported = used
        if exhausted is not None:
            self._stop(exhausted)

    async def _nothing_left_of_day(self) -> BudgetExceeded | None:
        """Return an error where nothing is left; None while the server does not answer, see `_report`."""
        if self._day_usage is None:
            return None
        try:
            return await self._day_usage.nothing_left(tenant_of(self._context.attempt.session_id))
        except RedisError:
            return None

    async def _record_regularly(self) -> None:
        """Record the run time at intervals, so that an attempt that dies loses at most one of them."""
        interval_s = min(RECORD_SECONDS, self.meter.limits.get("seconds", float("inf")) / 10)
        with suppress(Fenced, LogGone):  # the writer finds that as well
            while True:
                await asyncio.sleep(interval_s)
                await self.record()

    def _seconds(self) -> float:
        return self._earlier_s + self._run_time_s()

    def _stop(self, error: HoldfastError) -> None:
        if self.ending is None:
            self.ending = failed(error)
            self._context.stop(self.ending)
