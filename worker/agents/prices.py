"""Prices of models in USD per million tokens. Free of I/O."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

_FORM = "model=input/output, in USD per million tokens, such as gpt-5.4-mini=0.25/2"


@dataclass(frozen=True, slots=True)
class Prices:
    """Prices by model: (input, output). A name also covers its dated versions: `m` covers `m-2026-01-01`."""

    by_model: dict[str, tuple[float, float]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return bool(self.by_model)

    def cost_usd(self, model: str, input_tokens: int, output_tokens: int) -> float | None:
        """Return the cost of a model call; None where the model has no price."""
        price = self.by_model.get(model) or self._of_version(model)
        return None if price is None else (input_tokens * price[0] + output_tokens * price[1]) / 1_000_000

    def _of_version(self, model: str) -> tuple[float, float] | None:
        known = [name for name in self.by_model if _is_version(model.removeprefix(name))]
        known = [name for name in known if model.startswith(name)]
        return self.by_model[max(known, key=len)] if known else None


def parse_prices(text: str) -> Prices:
    """Parse the setting: entries `model=input/output`, separated by commas. Raises ValueError."""
    prices: dict[str, tuple[float, float]] = {}
    for entry in filter(None, map(str.strip, text.split(","))):
        name, _, amounts = entry.rpartition("=")
        try:
            given, made = map(float, amounts.split("/"))
        except ValueError:
            given = made = -1.0
        if not name.strip() or not all(math.isfinite(price) and price >= 0 for price in (given, made)):
            raise ValueError(f"{entry} has to be {_FORM}")
        prices[name.strip()] = given, made
    return Prices(prices)


def _is_version(rest: str) -> bool:
    """Return whether this is a date behind a model's name, such as `-2026-01-01` or `-20260101`."""
    return rest.startswith("-") and rest.replace("-", "").isdigit() and len(rest.replace("-", "")) >= 4
