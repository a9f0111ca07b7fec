"""The settings of a gateway, read once from HOLDFAST_* variables."""

from __future__ import annotations

from pydantic import Field

from shared.settings import CommonSettings


class GatewaySettings(CommonSettings):
    """Units stand in the names. The README has the table."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535)
    max_body_bytes: int = Field(1024 * 1024, ge=1024, le=64 * 1024 * 1024)
    gateway_grace_seconds: int = Field(10, ge=1, le=3600)
    gateway_redis_connections: int = Field(3, ge=2, le=1000)
    max_viewers: int = Field(20_000, ge=1)
    ping_seconds: float = Field(10, ge=0.05, le=60)
    send_deadline_seconds: float = Field(20, ge=0.1, le=3600)
