"""The settings of a worker, read once at start-up."""

from __future__ import annotations

import os
from pathlib import Path

from holdfast.shared.settings import CommonSettings
from holdfast.worker.agents.models import known_models
from holdfast.worker.agents.prices import Prices, parse_prices
from pydantic import Field, field_validator

LOG_DEADLINE_SECONDS = 10.0  # close a connection to a log server after so long without a reply
NO_TRACING = "OPENAI_AGENTS_DISABLE_TRACING"
_OFF = {"HAYSTACK_TELEMETRY_ENABLED": "false", NO_TRACING: "true"}


class WorkerSettings(CommonSettings):
    """The worker's settings. Names include their units; docs/settings.md describes each."""

    agents: str = ""
    scripted_agent: bool = False
    error_places: bool = False
    models: str = ""
    model_prices: str = ""
    max_jobs: int = Field(100, ge=1, le=100_000)
    grace_seconds: float = Field(20, ge=0, le=86_400)
    batch_ms: float = Field(20, ge=0, le=1000)
    webhook_retry_seconds: float = Field(5, ge=0.05, le=3600)

    @field_validator("agents")
    @classmethod
    def _module_names(cls, agents: str) -> str:
        if problems := [*filter(None, map(_problem_of, _names(agents)))]:
            raise ValueError("\n".join(problems))
        return agents

    @field_validator("models")
    @classmethod
    def _usable(cls, models: str) -> str:
        known_models(models)
        return models

    @field_validator("model_prices")
    @classmethod
    def _amounts(cls, prices: str) -> str:
        parse_prices(prices)
        return prices

    @property
    def prices(self) -> Prices:
        """The prices of HOLDFAST_MODEL_PRICES."""
        return parse_prices(self.model_prices)

    @property
    def modules(self) -> list[str]:
        """The modules named in HOLDFAST_AGENTS."""
        return _names(self.agents)


def _names(agents: str) -> list[str]:
    """Split the comma-separated value of HOLDFAST_AGENTS."""
    return [name.strip() for name in agents.split(",") if name.strip()]


def _problem_of(name: str) -> str | None:
    """Return why this is no module name; None when it is one."""
    if name.endswith(".py"):
        return f"{name} is a file; name its module: {_module_of(Path(name))}"
    if not all(part.isidentifier() for part in name.split(".")):
        return f"{name} is not a module; allowed: module names as in `import`, separated by commas"
    return None


def _module_of(file: Path) -> str:
    """Return the name by which a file is imported from the working directory."""
    parts = file.with_suffix("").parts
    return ".".join(parts) if all(part.isidentifier() for part in parts) else file.stem


def quieten() -> None:
    """Disable the usage telemetry of frameworks by their environment variables, unless these are set. Must run before
    the frameworks are imported."""
    for name, value in _OFF.items():
        os.environ.setdefault(name, value)
