"""Resolve model names: those of the deployment, and any model of a provider. Free of I/O."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

# The key for a self-hosted server without a configured one. A provider's key is sent to that provider only.
NO_KEY = "no-key"
# Logged once by a worker at its start.
WITHOUT_KEY = "agents without a key are not offered"
WITHOUT_SDK = "agents without the SDK of their provider are not offered"

_DEFAULTS = {"openai": "gpt-5.4-mini", "anthropic": "claude-sonnet-5"}
_TITLES = {"openai": "OpenAI", "anthropic": "Anthropic"}
_FORM = "name=provider:model[@base URL][#KEY_VARIABLE][|fallback...]"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_BASE_URL = re.compile(r"@(?=https?://)")


class ModelForbidden(ValueError):
    """A job names a model that its tenant may not use."""

    def __init__(self, name: str, allowed: frozenset[str]) -> None:
        super().__init__(f"the tenant may not use the model {name}, only {', '.join(sorted(allowed)) or 'none'}")


@dataclass(frozen=True, slots=True)
class Model:
    """A model and its server. Without a base URL the SDK's own environment variables apply.

    `on_failure`: the default fallbacks, unless a job names others."""

    name: str
    provider: str
    model: str
    base_url: str | None = None
    key_variable: str = ""
    on_failure: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """The display name of its provider."""
        return _TITLES[self.provider] if self.base_url is None else self.name

    @property
    def extra(self) -> str:
        """The extra of the distribution that installs the SDK of its provider."""
        return f"holdfast-gateway[{self.provider}]"

    def key(self, environment: Mapping[str, str]) -> str | None:
        """Return its key; None where the environment lacks it."""
        return NO_KEY if not self.key_variable else environment.get(self.key_variable) or None


def known_models(setting: str = "") -> dict[str, Model]:
    """Return the models by name: `openai`, `anthropic`, and those of the setting, which may override these two.

    Raises ValueError, which names the invalid entry."""
    models = {name: _of_provider(name, name, model) for name, model in _DEFAULTS.items()}
    entries = [_entry(text.strip()) for text in setting.split(",") if text.strip()]
    for entry in entries:
        if sum(other.name == entry.name for other in entries) > 1:
            raise ValueError(f"{entry.name} stands there twice")
    return models | {entry.name: entry for entry in entries}


def resolve(name: str, own: Model, models: Mapping[str, Model], allowed: frozenset[str] | None) -> Model:
    """Return the model of this name: a known one, `provider:model`, or another model on the server of `own`.

    `allowed`: the names that the job's tenant may use; None: all. Raises ModelForbidden."""
    if allowed is not None and name not in allowed:
        raise ModelForbidden(name, allowed)
    if name in models:
        return models[name]
    provider, _, model = name.partition(":")
    if provider in _DEFAULTS and model:
        return _of_provider(name, provider, model)
    return replace(own, model=name)


def _of_provider(name: str, provider: str, model: str) -> Model:
    return Model(name, provider, model, key_variable=_key_variable(provider))


def _key_variable(provider: str) -> str:
    return f"{provider.upper()}_API_KEY"


def _entry(text: str) -> Model:
    name, _, rest = text.partition("=")
    name = name.strip()
    if not _NAME.fullmatch(name):  # the entry is not quoted: it may contain a key
        raise ValueError(f"an entry does not begin with a name of letters and digits: {_FORM}")
    first, *fallbacks = (part.strip() for part in rest.split("|"))
    way, variable = _split(name, first)
    provider, _, rest = way.partition(":")
    model, *urls = (part.strip() for part in _BASE_URL.split(rest, maxsplit=1))
    if provider not in _DEFAULTS or not model or not all(fallbacks):
        raise ValueError(f"{name}: has to be {_FORM}; a provider is one of {', '.join(_DEFAULTS)}")
    base_url = _checked(name, urls[0]) if urls else None
    variable = variable or ("" if base_url else _key_variable(provider))
    return Model(name, provider, model, base_url, variable, tuple(fallbacks))


def _split(name: str, text: str) -> tuple[str, str]:
    """Split off the server of a model and the variable of its key."""
    way, hash_, variable = text.partition("#")
    if hash_ and not _VARIABLE.fullmatch(variable.strip()):
        raise ValueError(f"{name}: behind # stands the name of an environment variable, never a key")
    return way.strip(), variable.strip()


def _checked(name: str, url: str) -> str:
    try:
        parts = urlsplit(url)
        plain = bool(parts.hostname) and parts.port != 0 and not (parts.username or parts.password or parts.query)
    except ValueError:
        plain = False
    if not plain:
        raise ValueError(f"{name}: a base URL has a host, and neither credentials nor a query")
    return url
