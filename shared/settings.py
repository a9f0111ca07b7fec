"""The settings that gateway and worker share, read from HOLDFAST_* variables once at start-up."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.redis.client import check_url
from pydantic import Field, ValidationError, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


class CommonSettings(BaseSettings):
    """The shared settings. Names include their units; docs/settings.md describes each."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", env_ignore_empty=True, frozen=True)

    redis_url: str = "redis://127.0.0.1:6379/0"
    log_redis_url: str | None = None
    lease_seconds: float = Field(10, ge=0.5, le=3600)
    queue_seconds: int = Field(86_400, ge=1, le=30 * 86_400)
    ask_seconds: int = Field(86_400, ge=1, le=30 * 86_400)
    queue_limit: int = Field(10_000, ge=1)
    session_backlog_limit: int = Field(100, ge=1, le=1000)
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
    """Read the settings from the environment.

    Raises SettingsInvalid with a line for each problem: the variable, its value unless that may be a secret, and the
    allowed values."""
    try:
        return kind()
    except ValidationError as error:
        raise SettingsInvalid("\n".join(_problems(kind, error))) from None


def check_settings(*kinds: type[BaseSettings]) -> None:
    """Read several kinds of settings. Raises SettingsInvalid with the distinct lines of all of them."""
    lines: dict[str, None] = {}
    for kind in kinds:
        try:
            read_settings(kind)
        except SettingsInvalid as error:
            lines |= dict.fromkeys(str(error).splitlines())
    if lines:
        raise SettingsInvalid("\n".join(lines))


def variables_of(kind: type[BaseSettings]) -> set[str]:
    """Return the names of the environment variables of these settings."""
    return {_variable(kind, name) for name in kind.model_fields}


def _variable(kind: type[BaseSettings], field: str) -> str:
    return f"{kind.model_config.get('env_prefix', '')}{field}".upper()


def _problems(kind: type[BaseSettings], error: ValidationError) -> Iterator[str]:
    for found in error.errors():
        name = str(found["loc"][0])
        field = kind.model_fields[name]
        if _type_of(field) in (int, float, bool) or get_origin(_type_of(field)) is Literal:
            yield f"{_variable(kind, name)} is {found['input']!r}; allowed: {_allowed(field)}"
        else:  # an address may contain a password
            for problem in found["msg"].removeprefix("Value error, ").splitlines():
                yield f"{_variable(kind, name)}: {problem}"


def _type_of(field: FieldInfo) -> Any:
    """Return the type of the setting without None: `int` for `int | None`."""
    kinds = [kind for kind in get_args(field.annotation) if kind is not NoneType]
    return kinds[0] if get_origin(field.annotation) is UnionType else field.annotation


def _allowed(field: FieldInfo) -> str:
    """Describe the allowed values of a number, a switch or a choice."""
    kind = _type_of(field)
    if kind is bool:
        return "0 or 1"
    if get_origin(kind) is Literal:
        return ", ".join(get_args(kind))
    bounds = {type(bound).__name__: getattr(bound, type(bound).__name__.lower()) for bound in field.metadata}
    words = [f"{word} {bounds[name]:,}" for name, word in (("Ge", "from"), ("Le", "to")) if name in bounds]
    return " ".join(["a whole number" if kind is int else "a number", *words])
