"""The settings that gateway and worker have in common, read once at a process's door from HOLDFAST_* variables."""

from __future__ import annotations

import sys
from typing import Literal, TypeVar

from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from shared.errors import SettingsInvalid
from shared.redis import check_url


class CommonSettings(BaseSettings):
    """Units stand in the names. The README has the table."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", env_ignore_empty=True, frozen=True)

    redis_url: str = "redis://127.0.0.1:6379/0"
    log_redis_url: str | None = None
    lease_seconds: float = Field(10, ge=0.5, le=3600)
    queue_seconds: int = Field(86_400, ge=1, le=30 * 86_400)
    ask_seconds: int = Field(86_400, ge=1, le=30 * 86_400)
    queue_limit: int = Field(10_000, ge=1)
    line_limit: int = Field(100, ge=1)
    max_attempts: int = Field(3, ge=1, le=100)
    retention_events: int = Field(100_000, ge=1000)
    retention_seconds: int = Field(86_400, ge=60)
    log_format: Literal["auto", "text", "json"] = "auto"

    @field_validator("redis_url", "log_redis_url")
    @classmethod
    def _address(cls, url: str | None) -> str | None:
        return None if url is None else check_url(url)

    @property
    def log_url(self) -> str:
        return self.log_redis_url or self.redis_url

    @property
    def log_as_json(self) -> bool:
        return self.log_format == "json" or (self.log_format == "auto" and not sys.stderr.isatty())


Settings = TypeVar("Settings", bound=BaseSettings)


def read_settings(kind: type[Settings]) -> Settings:
    """Read the settings from the environment. Raises SettingsInvalid with one line that names each bad variable."""
    try:
        return kind()
    except ValidationError as error:
        prefix = kind.model_config.get("env_prefix", "")
        lines = [
            f"{prefix}{'.'.join(map(str, e['loc']))}".upper() + f": {e['msg'].removeprefix('Value error, ')}"
            for e in error.errors()
        ]
        raise SettingsInvalid("; ".join(lines)) from None
