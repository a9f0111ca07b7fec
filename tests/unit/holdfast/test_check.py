"""`holdfast check` reports as usable only what is."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from holdfast.shared.settings import CommonSettings, read_settings
from holdfast.worker.process.settings import WorkerSettings
from holdfast.worker.sdk.registry import GROUP

from holdfast.cli import check
from holdfast.cli.check import agent_findings, gateway_finding, servers
from holdfast.cli.embedded import prepare, running_url

AGENT = (
    "from holdfast.worker import Run, agent\n\n@agent\nasync def {}(run: Run) -> None:\n    await run.text('hello')\n"
)


@asynccontextmanager
async def answering(status: str, body: str) -> AsyncIterator[str]:
    """A server that answers every request so; one that never answers for an empty status."""
    closed: list[asyncio.Event] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        closed.append(asyncio.Event())
        await reader.readuntil(b"\r\n\r\n")
        if status:
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await reader.read()
        writer.close()
        await writer.wait_closed()
        closed[-1].set()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        for connection in closed:
            await connection.wait()


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("200 OK", "<html>It works!</html>"),
        ("200 OK", '["ready"]'),
        ("200 OK", "{}"),
        ("503 Service Unavailable", "[]"),
        ("404 Not Found", '{"detail":"Not Found"}'),
    ],
)
async def test_what_does_not_answer_as_a_gateway_is_none(status: str, body: str) -> None:
    async with answering(status, body) as url:
        finding = await gateway_finding(url)
    assert (finding.ok, finding.text) == (False, f"gateway: what answers at {url} is not a Holdfast gateway")


async def test_a_ready_gateway_is_usable_and_one_that_is_not_ready_says_why() -> None:
    async with answering("200 OK", '{"status":"ready"}') as url:
        assert (await gateway_finding(url)).ok is True
    async with answering("503 Service Unavailable", '{"code":"not_ready","detail":"log redis: is full"}') as url:
        finding = await gateway_finding(url)
    assert (finding.ok, finding.text) == (False, f"gateway: not ready at {url}: log redis: is full")


async def test_a_gateway_that_accepts_and_never_answers_is_unusable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, "ANSWER_SECONDS", 0.2)
    async with answering("", "") as url:
        finding = await gateway_finding(url)
    assert finding.ok is False
    assert f"no answer from {url}" in finding.text


@pytest.mark.parametrize("url", ["nonsense", "http://300.1.1.1:8000", "http://127.0.0.1:99999", "http://[::1"])
async def test_an_address_at_which_there_can_be_no_gateway_is_unusable(url: str) -> None:
    finding = await gateway_finding(url)
    assert finding.ok is False
    assert "allowed: http://host:port" in finding.text


def test_the_log_of_its_own_does_not_hide_the_embedded_queue(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_LOG_REDIS_URL", "redis://log")
    monkeypatch.delenv("HOLDFAST_REDIS_URL", raising=False)
    monkeypatch.setattr(check, "running_url", lambda folder: f"redis://embedded-in-{folder.name}")
    assert servers(read_settings(CommonSettings), tmp_path / "data") == {
        "queue redis": "redis://embedded-in-data",
        "log redis": "redis://log",
    }


def test_a_folder_that_is_taken_and_has_no_configuration_yet_has_no_server(tmp_path: Path) -> None:
    taken = prepare(tmp_path)
    assert running_url(tmp_path) == taken.url
    (tmp_path / "redis.conf").write_text("")
    assert running_url(tmp_path) is None
    (tmp_path / "redis.conf").unlink()
    assert running_url(tmp_path) is None


class TestAgents:
    """In a folder with the modules of a deployment."""

    @pytest.fixture(autouse=True)
    def _folder(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "path", [*sys.path])
        for name, agent in (("check_first", "greet"), ("check_second", "greet"), ("check_demo", "demo")):
            (tmp_path / f"{name}.py").write_text(AGENT.format(agent))
            monkeypatch.delitem(sys.modules, name, raising=False)
        (tmp_path / "check_broken.py").write_text("1 / 0\n")

    def texts(self, *modules: str) -> dict[bool | None, list[str]]:
        """The findings of these modules by their `ok`."""
        found: dict[bool | None, list[str]] = {}
        for finding in agent_findings(WorkerSettings(agents=",".join(modules))):
            found.setdefault(finding.ok, []).append(finding.text)
        return found

    def test_what_a_worker_offers_is_reported(self) -> None:
        found = self.texts("check_first")
        assert found.keys() == {True}
        assert found[True][0] == "agents: check_first offers greet"
        assert found[True][1].startswith("agents: a worker offers demo, greet")

    @pytest.mark.parametrize("other", ["check_second", "check_demo"])
    def test_an_agent_named_as_another_is_refused_as_the_worker_refuses_it(self, other: str) -> None:
        [clash] = self.texts("check_first", other)[False]
        assert "two agents are named" in clash

    def test_a_broken_module_and_a_missing_one_are_reported_once_each(self) -> None:
        broken, missing = self.texts("check_broken", "check_missing", "check_first")[False]
        assert "check_broken cannot be imported: ZeroDivisionError" in broken
        assert "check_missing cannot be imported: ModuleNotFoundError" in missing

    def test_an_entry_point_that_cannot_be_used_is_reported(self, tmp_path: Path) -> None:
        metadata = tmp_path / "check_package-1.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: check-package\nVersion: 1\n")
        (metadata / "entry_points.txt").write_text(f"[{GROUP}]\nmine = check_broken\n")
        [broken] = self.texts()[False]
        assert broken.startswith(f"agents: entry point {GROUP} mine cannot be imported: ZeroDivisionError")
