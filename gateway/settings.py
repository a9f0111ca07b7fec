"""The settings of a gateway, from HOLDFAST_* environment variables."""

from __future__ import annotations

from typing import Literal

from holdfast.gateway.hosts import AllowedHosts, parse_allowed_hosts, parse_origins
from holdfast.shared.settings import CommonSettings
from pydantic import Field, ValidationInfo, field_validator


class GatewaySettings(CommonSettings):
    """Settings of one gateway process. Names include their units; docs/settings.md describes each."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535)
    allowed_hosts: str = ""
    cors_origins: str = ""
    compress: Literal["off", "ended", "all"] = "ended"
    max_body_bytes: int = Field(
        1024 * 1024, ge=1024, le=8 * 1024 * 1024
    )  # parsing one blocks the loop for 7 ms per MiB
    max_head_bytes: int = Field(32 * 1024, ge=1024, le=1024 * 1024)
    head_seconds: float = Field(10, ge=0.1, le=3600)
    idle_seconds: float = Field(60, ge=0.1, le=86_400)
    gateway_grace_seconds: int = Field(10, ge=1, le=3600)
    gateway_redis_connections: int = Field(3, ge=1, le=1000)
    max_viewers: int = Field(20_000, ge=1)
    ping_seconds: float = Field(10, ge=0.05, le=20)  # clients close a stream after 25 s of silence
    send_deadline_seconds: float = Field(20, ge=0.1, le=3600)

    @field_validator("allowed_hosts", "cors_origins")
    @classmethod
    def _check_list(cls, text: str, info: ValidationInfo) -> str:
        parse = parse_origins if info.field_name == "cors_origins" else parse_allowed_hosts
        parse(text)
        return text

    @property
    def hosts(self) -> AllowedHosts:
        """The hosts that the gateway accepts."""
        return AllowedHosts(self.host, parse_allowed_hosts(self.allowed_hosts))

    @property
    def origins(self) -> frozenset[bytes]:
        """The other origins whose pages may call the gateway."""
        return parse_origins(self.cors_origins)
