"""How deploy/scale-check reaches a deployment: with a key, with tickets, with TLS, and containers of its own."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deploy.scale_check import CheckFailed, door
from deploy.scale_check.door import Door
from deploy.scale_check.stack import own_stack, running_stack
from deploy.scale_check.viewer import Viewer
from tests.support.tls import Authority


class Gateway(http.server.BaseHTTPRequestHandler):
    """Notes each request, and gives one prepared answer after the other: a status and a body."""

    answers: list[tuple[int, str]]
    paths: list[str]
    tokens: list[str | None]

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.paths.append(self.path)
        self.tokens.append(self.headers.get("Authorization"))
        status, body = self.answers.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server() -> Iterator[http.server.HTTPServer]:
    Gateway.answers, Gateway.paths, Gateway.tokens = [], [], []
    with http.server.HTTPServer(("127.0.0.1", 0), Gateway) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def url(server: http.server.HTTPServer) -> str:
    return f"http://127.0.0.1:{server.server_port}"


def test_a_key_is_sent_with_every_call_and_for_the_ticket(url: str) -> None:
    Gateway.answers = [(202, '{"job_id":"j"}'), (201, '{"ticket":"hft_a"}'), (200, '{"status":"completed"}')]
    keyed = Door(url, "hf_key")
    assert (keyed.submit("s"), keyed.ticket("s"), keyed.job("s", "j")) == ("j", "hft_a", {"status": "completed"})
    assert Gateway.tokens == ["Bearer hf_key"] * 3
    assert Gateway.paths == ["/v1/sessions/s/jobs", "/v1/sessions/s/tickets", "/v1/sessions/s/jobs/j"]


def test_without_a_key_nothing_is_authenticated_and_no_ticket_is_made(url: str) -> None:
    Gateway.answers = [(202, '{"job_id":"j"}')]
    keyless = Door(url)
    assert (keyless.submit("s"), keyless.ticket("s")) == ("j", None)
    assert Gateway.tokens == [None]


def test_a_post_that_is_never_accepted_fails_the_check_with_the_answer(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "PAUSE_S", 0)
    Gateway.answers = [(401, '{"code":"unauthenticated"}')] * 5
    with pytest.raises(CheckFailed, match=r"401 .*unauthenticated"):
        Door(url, "hf_wrong").submit("s")


def test_a_viewer_shows_its_ticket_alone_and_then_the_newest(url: str) -> None:
    ticket = json.dumps({"type": "ticket", "ticket": "hft_b"}, separators=(",", ":"))
    Gateway.answers = [(200, f'id: 1000-1\ndata: {{"type":"x"}}\n\ndata: {ticket}\n\n'), (204, "")]
    viewer = Viewer(Door(url, "hf_key"), "/events", hops=False, ticket="hft_a")
    viewer.run()
    assert Gateway.paths == ["/events?raw=true&ticket=hft_a", "/events?raw=true&ticket=hft_b"]
    assert Gateway.tokens == [None, None]
    assert ([event.id for event in viewer.events], viewer.renewals, viewer.refusals) == (["1000-1"], 1, 0)


def test_a_refused_ticket_is_counted(url: str) -> None:
    Gateway.answers = [(401, "{}"), (204, "")]
    viewer = Viewer(Door(url), "/events", hops=True, ticket="hft_a")
    viewer.run()
    assert viewer.refusals == 1


def test_a_certificate_is_verified_with_the_file_ssl_cert_file(
    server: http.server.HTTPServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(tmp_path)
    server.socket = authority.server_context("127.0.0.1").wrap_socket(server.socket, server_side=True)
    url = f"https://127.0.0.1:{server.server_port}"
    Gateway.answers = [(200, "{}")]
    with pytest.raises(CheckFailed, match="SSL_CERT_FILE"):
        Door(url).call("GET", "/readyz")
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))
    assert Door(url).call("GET", "/readyz") == (200, {})


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://localhost", "https://"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(CheckFailed, match="no address"):
        Door(url).call("GET", "/readyz")


@pytest.fixture
def compose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stands for `docker compose`: notes its arguments and environment in a file."""
    noted, script = tmp_path / "noted", tmp_path / "compose"
    script.write_text(f'#!/bin/sh\n{{ echo "arguments $*"; env; }} > "{noted}"\n', "utf-8")
    script.chmod(0o755)
    deployment: dict[str, Any] = {"COMPOSE_FILE": "docker-compose.yml:deploy/compose.tls.yml", "HOLDFAST_AUTH": "keys"}
    for name, value in ({"COMPOSE": str(script)} | deployment).items():
        monkeypatch.setenv(name, value)
    return noted


def test_a_stack_of_its_own_has_a_project_of_its_own_without_tls_and_authentication(compose: Path) -> None:
    own_stack(1234).down()
    lines = compose.read_text("utf-8").splitlines()
    assert lines[0].startswith("arguments -p holdfast-scale-check ")
    assert {"COMPOSE_FILE=docker-compose.yml", "HOLDFAST_AUTH=off", "HOLDFAST_PORT=1234"} <= set(lines)


def test_a_running_deployment_is_the_one_that_the_environment_describes(compose: Path) -> None:
    running_stack().healthy("worker", 2)
    lines = compose.read_text("utf-8").splitlines()
    assert lines[0] == "arguments exec -T --index 2 worker python /opt/holdfast/health.py worker"
    assert {"COMPOSE_FILE=docker-compose.yml:deploy/compose.tls.yml", "HOLDFAST_AUTH=keys"} <= set(lines)
