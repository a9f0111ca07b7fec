"""The internals of uvicorn that gateway/transports/uvicorn.py and uvicorn_server.py depend on."""

from __future__ import annotations

import inspect
from importlib.metadata import requires, version

import pytest
from packaging.requirements import Requirement
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState

HINT = "Read gateway/transports/uvicorn*.py against the new version before you widen the pin in pyproject.toml."
OVERRIDDEN = ("on_body", "on_headers_complete", "on_message_begin", "on_message_complete")
USED = {
    HttpToolsProtocol: (*OVERRIDDEN, "_start_asgi_task", "on_response_complete", "connection_lost", "data_received"),
    FlowControl: ("pause_reading", "resume_reading", "pause_writing", "resume_writing", "drain"),
    Server: ("handle_exit", "startup", "shutdown", "serve"),
}
CYCLE = ("chunked_encoding", "disconnected", "expected_content_length", "keep_alive", "message_event", "more_body")


def test_the_installed_uvicorn_is_one_that_was_tested() -> None:
    [pin] = [one for one in map(Requirement, requires("holdfast-gateway") or ()) if one.name == "uvicorn"]
    assert version("uvicorn") in pin.specifier, HINT
    assert not pin.specifier.contains("0.999"), f"Pin uvicorn to minor versions. {HINT}"


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner in USED for name in USED[owner]])
def test_each_method_that_is_used_or_overridden_exists(owner: type, name: str) -> None:
    assert callable(getattr(owner, name, None)), f"uvicorn has no {owner.__name__}.{name}. {HINT}"


@pytest.mark.parametrize("name", [*CYCLE, "response_complete", "response_started", "scope", "transport"])
def test_each_attribute_of_a_request_cycle_that_is_used_exists(name: str) -> None:
    source = inspect.getsource(RequestResponseCycle.__init__)
    assert f"self.{name} " in source or f"self.{name}:" in source, f"A cycle has no {name}. {HINT}"


def test_a_server_counts_its_connections() -> None:
    assert ServerState().connections == set(), HINT
