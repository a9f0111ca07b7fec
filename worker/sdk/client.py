"""What the page of a job sends along with it, as its agent sees it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Client:
    """What the page sent with a job; the same in every attempt. Changes of it do not reach the page.

    Args:
        state: any JSON that the page and its agents agree on; None where it sent none.
        context: what the page says about itself, `{"description", "value"}` each.
        tools: the tools that the page has, `{"name", "description", "parameters"}` each. They cannot be called.

    AG-UI describes them: https://docs.ag-ui.com/sdk/js/core/types
    """

    state: Any = None
    context: list[dict[str, Any]] = field(default_factory=list)
    tools: list[dict[str, Any]] = field(default_factory=list)
