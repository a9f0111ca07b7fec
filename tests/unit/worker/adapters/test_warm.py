"""Warming: what an agent wants done before its worker takes jobs."""

from __future__ import annotations

from holdfast.worker import Run
from holdfast.worker.sdk.registry import Agent, Registry, agent
from structlog.testing import capture_logs


def test_a_worker_warms_each_agent_that_asks_for_it() -> None:
    warmed: list[str] = []

    @agent("eager", warm=lambda: warmed.append("eager"))
    async def eager(run: Run) -> None: ...

    marked = eager.__holdfast_agent__  # type: ignore[attr-defined]
    Registry([marked, Agent("plain", lambda run: None, {})]).warm()

    assert warmed == ["eager"]


def test_an_agent_that_cannot_be_warmed_stops_no_worker() -> None:
    warmed: list[str] = []

    def fail() -> None:
        raise RuntimeError("no such model")

    with capture_logs() as logs:
        Registry(
            [
                Agent("broken", lambda run: None, {}, fail),
                Agent("sound", lambda run: None, {}, lambda: warmed.append("sound")),
            ]
        ).warm()

    assert warmed == ["sound"]
    assert [(entry["event"], entry["agent"]) for entry in logs] == [("agent could not be warmed", "broken")]
