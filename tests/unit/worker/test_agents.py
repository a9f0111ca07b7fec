"""The agents that need no key: `scripted` does what its options say, `demo` shows every kind of event."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from holdfast.worker.agents import demo as demo_agent
from holdfast.worker.agents.demo import demo
from holdfast.worker.agents.scripted import scripted
from holdfast.worker.attempt.journal import Step
from holdfast.worker.sdk.run import AgentError, Run


class Record:
    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.flushed = 0

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        self.events.append(orjson.loads(body))

    async def flush(self) -> None:
        self.flushed = len(self.events)

    def text(self) -> str:
        return "".join(event["text"] for event in self.events if event["type"] == "text.delta")

    def kinds(self) -> list[str]:
        return [event["type"] for event in self.events]


def a_run(record: Record, *, attempt: int = 1, input: Any = "hi", **options: Any) -> Run:
    return Run(
        record, session_id="s", job_id="j", attempt=attempt, input=input, options=options, metadata={}, history=[]
    )


@pytest.fixture
def record() -> Record:
    return Record()


class TestScripted:
    async def test_it_speaks_its_tokens(self, record: Record) -> None:
        assert await scripted(a_run(record, tokens=3, interval_ms=0)) == {"tokens": 3}
        assert [event["text"] for event in record.events] == ["w0 ", "w1 ", "w2 "]

    async def test_it_speaks_a_hundred_unless_it_is_told(self, record: Record) -> None:
        await scripted(a_run(record, interval_ms=0))
        assert record.text() == "".join(f"w{number} " for number in range(100))

    async def test_its_tools_come_first(self, record: Record) -> None:
        await scripted(a_run(record, tokens=1, interval_ms=0, tools=2))
        call = ["tool.started", "tool.arguments.delta", "tool.arguments.delta", "tool.called", "tool.result"]
        assert record.kinds() == [*call, *call, "text.delta"]
        deltas = [event["delta"] for event in record.events if event["type"] == "tool.arguments.delta"]
        assert orjson.loads("".join(deltas[:2])) == record.events[3]["arguments"]

    @pytest.mark.parametrize("fail_at", [0, 2, 3])
    async def test_it_fails_after_so_many_tokens(self, record: Record, fail_at: int) -> None:
        with pytest.raises(RuntimeError, match=f"after {fail_at} tokens"):
            await scripted(a_run(record, tokens=3, interval_ms=0, fail_at=fail_at))
        assert len(record.events) == fail_at

    @pytest.mark.parametrize(("attempt", "always", "dies"), [(1, False, True), (2, False, False), (2, True, True)])
    async def test_it_kills_its_process_once_its_tokens_are_in_the_log(
        self, record: Record, monkeypatch: pytest.MonkeyPatch, attempt: int, *, always: bool, dies: bool
    ) -> None:
        deaths: list[int] = []
        monkeypatch.setattr("os.kill", lambda pid, number: deaths.append(record.flushed))
        monkeypatch.setattr("os._exit", lambda code: None)
        run = a_run(record, attempt=attempt, tokens=3, interval_ms=0, crash_at=2, crash_always=always)
        await scripted(run)
        assert deaths == ([2] if dies else [])

    @pytest.mark.parametrize(
        ("options", "names"),
        [
            ({"tokens": -1}, "options.tokens"),
            ({"tokens": "5"}, "options.tokens"),
            ({"interval_ms": -1}, "options.interval_ms"),
            ({"fail_at": 1.5}, "options.fail_at"),
            ({"unknown": 1}, "options.unknown"),
        ],
    )
    async def test_an_option_that_it_does_not_know_is_named(
        self, record: Record, options: dict[str, Any], names: str
    ) -> None:
        with pytest.raises(AgentError, match=names) as caught:
            await scripted(a_run(record, **options))
        assert caught.value.code == "options_invalid"


class TestDemo:
    @pytest.fixture(autouse=True)
    def _fast(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(demo_agent, "WORDS_PER_SECOND", 1_000_000)
        monkeypatch.setattr(demo_agent, "THINKING_SECONDS", 0)

    async def test_it_shows_status_outline_tool_and_sections(self, record: Record) -> None:
        await demo(a_run(record, input="Why do\nstreams break?"))
        kinds = record.kinds()
        for kind in (
            "status",
            "data",
            "tool.started",
            "tool.called",
            "tool.result",
            "section.started",
            "section.ended",
        ):
            assert kind in kinds
        outline = next(event["value"] for event in record.events if event["type"] == "data")
        titles = [event["title"] for event in record.events if event["type"] == "section.started"]
        assert [entry["title"] for entry in outline] == titles
        assert "“Why do streams break?”" in record.text()

    @pytest.mark.parametrize(
        ("given", "quoted"),
        [
            ({"messages": [{"role": "user", "content": "first"}, {"role": "user", "content": "last"}]}, "“last”"),
            ("x" * 500, "…”"),
            ("", "You asked nothing"),
            ({}, "You asked nothing"),
        ],
    )
    async def test_it_answers_whatever_it_is_given(self, record: Record, given: Any, quoted: str) -> None:
        await demo(a_run(record, input=given))
        assert quoted in record.text()
