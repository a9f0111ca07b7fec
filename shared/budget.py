"""Budgets: what a job may use over all of its attempts, and what it has used."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from holdfast.shared.errors import HoldfastError

# A client may limit the first four; `events` is limited by the deployment only.
REQUESTABLE = ("tokens", "cost_usd", "seconds", "tool_calls")
AMOUNTS = (*REQUESTABLE, "events")

Amounts = dict[str, float]

_DIGITS = 9  # of a cost or a time, so that sums of floats stay short
_WORDS = {
    "tokens": "{:,} tokens",
    "cost_usd": "{:g} USD",
    "seconds": "{:g} seconds",
    "tool_calls": "{:,} tool calls",
    "events": "{:,} events",
}


class BudgetExceeded(HoldfastError):
    """A job used more than its budget."""

    code = "budget_exceeded"

    def __init__(self, name: str, limit: float, whose: str = "The job's budget") -> None:
        super().__init__(f"{whose} of {_WORDS[name].format(limit)} ({name}) is exceeded")


class PriceUnknown(HoldfastError):
    """A job has a budget in USD and uses a model whose price is not configured."""

    code = "price_unknown"

    def __init__(self, model: str | None = None) -> None:
        of = "any model" if model is None else f"the model {model[:100]}"
        super().__init__(f"The job has a budget in USD, but HOLDFAST_MODEL_PRICES has no price of {of}")


def read_amounts(text: bytes | None) -> Amounts:
    """Parse amounts by name, as they are stored; nothing for an absent text."""
    return orjson.loads(text) if text else {}


def write_amounts(amounts: Mapping[str, float]) -> bytes:
    """Encode amounts by name for the record of a job."""
    return orjson.dumps({name: round(amount, _DIGITS) for name, amount in amounts.items()})


def left_of(limits: Mapping[str, float], used: Mapping[str, float]) -> Amounts:
    """Return what is left, at least 0, of the amounts that a client may limit and that have a limit."""
    return {
        name: max(round(limit - used.get(name, 0), _DIGITS), 0) for name, limit in limits.items() if name in REQUESTABLE
    }


def exceeded(limits: Mapping[str, float], used: Mapping[str, float]) -> BudgetExceeded | None:
    """Return the error of the first amount above its limit, if any."""
    for name, limit in limits.items():
        if used.get(name, 0) > limit:
            return BudgetExceeded(name, limit)
    return None
