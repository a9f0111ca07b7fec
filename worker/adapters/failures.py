"""Find the error of the model's provider in an exception of a framework. Identifies SDKs by name and imports none."""

from __future__ import annotations

import os
from collections.abc import Iterator

from holdfast.worker.agents.provider_errors import Provider
from holdfast.worker.sdk.run import AgentError

# The root module of each SDK: the provider's name, and the variable of its key.
_SDKS = {"openai": ("OpenAI", "OPENAI_API_KEY"), "anthropic": ("Anthropic", "ANTHROPIC_API_KEY")}
_HTTP_CLIENTS = ("httpx", "httpx2", "httpcore", "httpcore2")
# Errors of a connection that was never established.
_UNREACHED = frozenset({"ConnectError", "ConnectTimeout"})


def provider_failure(error: BaseException) -> AgentError | None:
    """Return the provider's error, described for users and without keys; None for other exceptions."""
    errors = list(_causes(error))
    kinds = {kind for inner in errors for kind in _kinds(inner)}
    for inner in errors:
        if (found := _of_an_sdk(inner, kinds)) or (found := _of_an_http_client(inner, kinds)):
            return found
    return None


def _of_an_sdk(error: BaseException, kinds: set[tuple[str, str]]) -> AgentError | None:
    for root, name in _kinds(error):
        if root in _SDKS and (found := _worded(_provider(root), name, error, kinds)):
            return found
    return None


def _worded(provider: Provider, name: str, error: BaseException, kinds: set[tuple[str, str]]) -> AgentError | None:
    match name:
        case "APIStatusError":
            return provider.refused(getattr(error, "status_code", 500), getattr(error, "body", None))
        case "APITimeoutError":
            return _timeout(provider)
        case "APIConnectionError":
            return _unreached_or_cut(provider, kinds)
        case "APIError":
            return provider.broke_off(getattr(error, "body", None))
    return None


def _of_an_http_client(error: BaseException, kinds: set[tuple[str, str]]) -> AgentError | None:
    names = [name for root, name in _kinds(error) if root in _HTTP_CLIENTS]
    provider = Provider("The model's provider")
    if "TimeoutException" in names and not _UNREACHED.intersection(names):
        return _timeout(provider)
    if "RequestError" in names:
        return _unreached_or_cut(provider, kinds)
    return None


def _unreached_or_cut(provider: Provider, kinds: set[tuple[str, str]]) -> AgentError:
    return provider.unreachable() if any(name in _UNREACHED for _, name in kinds) else provider.cut()


def _timeout(provider: Provider) -> AgentError:
    return AgentError("provider_timeout", f"{provider.name} did not answer in time", retryable=True)


def _provider(root: str) -> Provider:
    name, variable = _SDKS[root]
    return Provider(name, [os.environ.get(variable)])


def _kinds(error: BaseException) -> list[tuple[str, str]]:
    """Return root module and name of each class of an error, the most derived first."""
    return [(kind.__module__.partition(".")[0], kind.__name__) for kind in type(error).__mro__]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """Iterate over the error and its causes, the closest first."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        found = waiting.pop(0)
        if id(found) in seen:
            continue
        seen.add(id(found))
        yield found
        inner = getattr(found, "exceptions", ()) if isinstance(found, BaseExceptionGroup) else ()
        waiting += [cause for cause in (found.__cause__, found.__context__, *inner) if cause is not None]
