"""The settings of a gateway, from HOLDFAST_* environment variables."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Literal

from holdfast.gateway.authentication.jwt_values import check_fixed_tenant, check_jwks_url, check_secret
from holdfast.gateway.client_address import Network, parse_networks
from holdfast.gateway.hosts import AllowedHosts, parse_allowed_hosts, parse_origins
from holdfast.shared.budget import AMOUNTS, Amounts
from holdfast.shared.settings import CommonSettings
from pydantic import Field, SecretStr, ValidationInfo, field_validator

_LISTS: Mapping[str, Callable[[str], object]] = {
    "allowed_hosts": parse_allowed_hosts,
    "cors_origins": parse_origins,
    "trusted_proxies": parse_networks,
}
_JWT_CHECKS: Mapping[str, Callable[[Any], Any]] = {
    "jwt_secret": check_secret,
    "jwt_jwks_url": check_jwks_url,
    "jwt_tenant": check_fixed_tenant,
}


class GatewaySettings(CommonSettings):
    """Settings of one gateway process. Names include their units; docs/settings.md describes each."""

    host: str = "127.0.0.1"
    port: int = Field(8000, ge=0, le=65_535)
    gateway_processes: int = Field(1, ge=1, le=256)
    auth: str | None = None
    ticket_seconds: int = Field(300, ge=1, le=3600)
    sign_in_seconds: int = Field(43_200, ge=60, le=7 * 86_400)
    allowed_hosts: str = ""
    cors_origins: str = ""
    compress: Literal["off", "ended", "all"] = "ended"
    max_body_bytes: int = Field(
        1024 * 1024, ge=1024, le=8 * 1024 * 1024
    )  # parsing one blocks the loop for 7 ms per MiB
    job_max_tokens: int | None = Field(None, ge=1)
    job_max_cost_usd: float | None = Field(None, gt=0)
    job_max_seconds: float | None = Field(None, gt=0)
    job_max_tool_calls: int | None = Field(None, ge=1)
    job_max_events: int | None = Field(None, ge=1)
    max_head_bytes: int = Field(32 * 1024, ge=1024, le=1024 * 1024)
    head_seconds: float = Field(10, ge=0.1, le=3600)
    idle_seconds: float = Field(60, ge=0.1, le=86_400)
    gateway_grace_seconds: int = Field(10, ge=1, le=3600)
    gateway_redis_connections: int = Field(3, ge=1, le=1000)
    max_viewers: int = Field(20_000, ge=1)
    session_max_viewers: int | None = Field(None, ge=1)
    tenant_max_viewers: int | None = Field(None, ge=1)
    address_max_viewers: int | None = Field(None, ge=1)
    tenant_requests_per_second: float | None = Field(None, ge=0.1, le=1_000_000)
    tenant_requests_burst: int | None = Field(None, ge=1, le=10_000_000)
    address_requests_per_second: float | None = Field(None, ge=0.1, le=1_000_000)
    address_requests_burst: int | None = Field(None, ge=1, le=10_000_000)
    address_auth_failures_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    trusted_proxies: str = ""
    ping_seconds: float = Field(10, ge=0.05, le=20)  # clients close a stream after 25 s of silence
    send_deadline_seconds: float = Field(20, ge=0.1, le=3600)

    jwt_secret: SecretStr | None = None
    jwt_jwks_url: str | None = None
    jwt_issuer: str | None = None
    jwt_audience: str | None = None
    jwt_tenant_claim: str = "tenant"
    jwt_tenant: str | None = None
    jwt_leeway_seconds: float = Field(10, ge=0, le=60)

    @field_validator("jwt_secret", "jwt_jwks_url", "jwt_tenant")
    @classmethod
    def _check_jwt(cls, value: Any, info: ValidationInfo) -> Any:
        return value if value is None else _JWT_CHECKS[info.field_name or ""](value)

    @field_validator(*_LISTS)
    @classmethod
    def _check_list(cls, text: str, info: ValidationInfo) -> str:
        _LISTS[info.field_name or ""](text)
        return text

    @field_validator("auth")
    @classmethod
    def _check_auth(cls, text: str | None) -> str | None:
        modes = None if text is None else sorted(part.strip() for part in text.split(","))
        if modes not in (None, ["off"], ["keys"], ["jwt"], ["jwt", "keys"]):
            raise ValueError("should be off, keys, jwt, or keys,jwt")
        return None if modes is None else ",".join(modes)

    @property
    def accepts_keys(self) -> bool:
        """Whether API keys are accepted."""
        return self.auth in ("keys", "jwt,keys")

    @property
    def accepts_jwt(self) -> bool:
        """Whether JWTs are accepted."""
        return self.auth in ("jwt", "jwt,keys")

    @property
    def authenticates(self) -> bool:
        """Whether requests need credentials."""
        return self.accepts_keys or self.accepts_jwt

    @property
    def job_limits(self) -> Amounts:
        """The largest budget of a job, by the names of shared/budget.py."""
        limits = {name: getattr(self, f"job_max_{name}") for name in AMOUNTS}
        return {name: limit for name, limit in limits.items() if limit is not None}

    @property
    def hosts(self) -> AllowedHosts:
        """The hosts that the gateway accepts."""
        return AllowedHosts(self.host, parse_allowed_hosts(self.allowed_hosts))

    @property
    def origins(self) -> frozenset[bytes]:
        """The other origins whose pages may call the gateway."""
        return parse_origins(self.cors_origins)

    @property
    def limits_requests(self) -> bool:
        """Whether a rate of requests is limited."""
        rates = (self.tenant_requests_per_second, self.address_requests_per_second)
        return any(limit is not None for limit in (*rates, self.address_auth_failures_per_minute))

    @cached_property
    def trusted_networks(self) -> tuple[Network, ...]:
        """The networks of the proxies whose X-Forwarded-For is used."""
        return parse_networks(self.trusted_proxies)
