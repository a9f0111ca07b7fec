"""deploy/health.py, the health check of a container, apart from Redis."""

from __future__ import annotations

import http.server
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from deploy import health
from tests.support.ports import free_port


class Hearts:
    """Stands for the queue: answers one count of heartbeats after the other, the last one for ever."""

    def __init__(self, *answers: dict[str, int]) -> None:
        self._answers = list(answers)

    async def workers(self) -> dict[str, int]:
        return self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "LOOK_S", 0.001)


async def stands(*answers: dict[str, int]) -> str | None:
    hearts: Any = Hearts(*answers)
    return await health.heart_stands(hearts, "box-", 0.05)


async def test_a_worker_whose_heart_moves_is_alive() -> None:
    assert await stands({"box-1": 7}, {"box-1": 7}, {"box-1": 8}) is None


async def test_a_worker_that_has_just_come_is_alive() -> None:
    assert await stands({}, {"box-1": 1}) is None


async def test_a_worker_whose_heart_stands_still_is_not() -> None:
    assert "no heartbeat" in str(await stands({"box-1": 7}))


async def test_a_worker_that_signed_off_is_not_alive() -> None:
    assert "no heartbeat" in str(await stands({"box-1": 7}, {}))


async def test_another_container_s_heart_does_not_count() -> None:
    assert "no heartbeat" in str(await stands({"box-1": 7, "far-1": 1}, {"box-1": 7, "far-1": 2}))


@pytest.fixture
def readyz(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[http.server.BaseHTTPRequestHandler]]:
    """A server at the port that HOLDFAST_PORT names, whose answer to /readyz a test sets as `status`."""

    class Readyz(http.server.BaseHTTPRequestHandler):
        status = 200

        def do_GET(self) -> None:
            self.send_response(self.status)
            self.end_headers()
            self.wfile.write(self.path.encode() + b" says why")

        def log_message(self, *_: object) -> None:
            pass

    with http.server.HTTPServer(("127.0.0.1", 0), Readyz) as server:
        monkeypatch.setenv("HOLDFAST_PORT", str(server.server_port))
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield Readyz
        server.shutdown()
        thread.join()


def test_a_gateway_that_is_ready_is_healthy(readyz: Any) -> None:
    assert health.gateway() is None


def test_a_gateway_that_is_not_ready_is_not_healthy_and_says_why(readyz: Any) -> None:
    readyz.status = 503
    assert health.gateway() == "/readyz says why"


def test_a_gateway_that_does_not_answer_is_not_healthy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_PORT", str(free_port()))
    assert "does not answer" in str(health.gateway())
