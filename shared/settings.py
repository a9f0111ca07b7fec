"""The settings that gateway and worker share, read from HOLDFAST_* variables once at start-up."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, get_args, get_origin

from holdfast.shared.budget import REQUESTABLE, Amounts
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.master_keys import MasterKeys, parse_master_keys
from holdfast.shared.redis.address import check_ca, cluster_address, complete_url, read_password
from holdfast.shared.redis.client import check_url
from holdfast.shared.webhooks.addresses import parse_networks
from holdfast.shared.webhooks.signature import parse_secrets
from pydantic import Field, SecretStr, ValidationError, ValidationInfo, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


class CommonSettings(BaseSettings):
    """The shared settings. Names include their units; docs/settings.md describes each."""

    model_config = SettingsConfigDict(env_prefix="HOLDFAST_", env_ignore_empty=True, frozen=True)

    redis_password_file: str | None = None
    redis_ca: str | None = None
    redis_url: str = Field("redis://127.0.0.1:6379/0", repr=False, validate_default=True)
    log_redis_url: str | None = Field(None, repr=False)
    lease_seconds: float = Field(10, ge=0.5, le=3600)
    queue_seconds: int = Field(86_400, ge=1, le=30 * 86_400)
    ask_seconds: int = Field(86_400, ge=1, le=30 * 86_400)
    queue_limit: int = Field(10_000, ge=1)
    tenant_queue_limit: int = Field(2000, ge=1)
    tenant_max_running: int | None = Field(None, ge=1, le=8000)
    tenant_webhook_limit: int = Field(10_000, ge=1)
    session_backlog_limit: int = Field(100, ge=1, le=1000)
    max_attempts: int = Field(3, ge=1, le=100)
    tenant_tokens_per_day: int | None = Field(None, ge=1)
    tenant_cost_usd_per_day: float | None = Field(None, gt=0)
    tenant_seconds_per_day: float | None = Field(None, gt=0)
    tenant_tool_calls_per_day: int | None = Field(None, ge=1)
    retention_events: int = Field(100_000, ge=1000)
    retention_seconds: int = Field(86_400, ge=60)
    encryption_keys: SecretStr | None = None
    encryption_keys_file: Path | None = None
    encryption_plain_until: datetime | None = None
    webhook_secret: str = Field("", repr=False)
    webhook_networks: str = ""
    log_format: Literal["auto", "text", "json"] = "auto"
    metrics_host: str = "127.0.0.1"
    metrics_port: int | None = Field(None, ge=1, le=65_535)
    otlp_endpoint: str | None = Field(None, repr=False)

    @field_validator("redis_password_file", "redis_ca")
    @classmethod
    def _file(cls, file: str | None, info: ValidationInfo) -> str | None:
        if file is not None:
            _ = check_ca(file) if info.field_name == "redis_ca" else read_password(file)
        return file

    @field_validator("redis_url", "log_redis_url")
    @classmethod
    def _address(cls, url: str | None, info: ValidationInfo) -> str | None:
        """Complete an address. The files are validated before, and missing here if they are invalid."""
        if url is None:
            return None
        if info.field_name == "redis_url" and cluster_address(url) is not None:
            raise ValueError("should be one Redis: only HOLDFAST_LOG_REDIS_URL may be a cluster")
        file = info.data.get("redis_password_file")
        return complete_url(check_url(url), file and read_password(file), info.data.get("redis_ca"))

    @field_validator("encryption_keys")
    @classmethod
    def _master_keys(cls, keys: SecretStr | None) -> SecretStr | None:
        if keys is not None:
            parse_master_keys(keys.get_secret_value())
        return keys

    @field_validator("encryption_keys_file")
    @classmethod
    def _file_of_master_keys(cls, path: Path | None, info: ValidationInfo) -> Path | None:
        if path is not None:
            if info.data.get("encryption_keys") is not None:
                raise ValueError("should not be set together with HOLDFAST_ENCRYPTION_KEYS")
            parse_master_keys(_text_of(path))
        return path

    @field_validator("encryption_plain_until", mode="before")
    @classmethod
    def _time(cls, text: str | None) -> datetime | None:
        if text is None:
            return None
        with suppress(ValueError):
            at = datetime.fromisoformat(text)
            if at.tzinfo is not None:
                return at
        raise ValueError("should be a time with its zone, such as 2026-12-01T00:00:00Z")

    @field_validator("otlp_endpoint")
    @classmethod
    def _collector(cls, url: str | None) -> str | None:
        if url is not None and re.fullmatch(r"https?://[^/?#\s]+(/[^?#\s]*)?", url) is None:
            raise ValueError("should be the address of a collector, such as http://127.0.0.1:4318")
        return url

    @property
    def master_keys(self) -> MasterKeys:
        """The master keys of the encryption at rest; empty while it is off. Reads their file."""
        if self.encryption_keys is not None:
            return parse_master_keys(self.encryption_keys.get_secret_value())
        return {} if self.encryption_keys_file is None else parse_master_keys(_text_of(self.encryption_keys_file))

    @property
    def plain_until_s(self) -> float:
        """Up to when values without encryption are opened, in seconds since 1970, where encryption is on."""
        return 0 if self.encryption_plain_until is None else self.encryption_plain_until.timestamp()

    @field_validator("webhook_secret")
    @classmethod
    def _secrets(cls, text: str) -> str:
        parse_secrets(text)
        return text

    @field_validator("webhook_networks")
    @classmethod
    def _networks(cls, text: str) -> str:
        parse_networks(text)
        return text

    @property
    def day_limits(self) -> Amounts:
        """What each tenant may use per UTC day, by the names of shared/budget.py."""
        limits = {name: getattr(self, f"tenant_{name}_per_day") for name in REQUESTABLE}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def log_url(self) -> str:
        return self.log_redis_url or self.redis_url

    @property
    def log_as_json(self) -> bool:
        return self.log_format == "json" or (self.log_format == "auto" and not sys.stderr.isatty())


def _text_of(path: Path) -> str:
    """Read a file. Raises ValueError with the reason where it cannot be read."""
    try:
        return path.read_text("ascii")
    except OSError as error:
        raise ValueError(f"the file cannot be read: {error.strerror}") from None


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
