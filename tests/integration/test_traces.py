"""The spans of a job, as a collector receives them over OTLP from real processes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.support.observed import Observed, observed
from tests.support.process import Processes
from tests.support.receiver import receiver

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


@pytest.fixture
async def stack(processes: Processes, redis_url: str) -> AsyncIterator[Observed]:
    async with observed(processes, redis_url) as stack:
        yield stack


async def test_a_job_has_one_trace_from_its_submission_to_its_webhook(stack: Observed) -> None:
    async with receiver() as hooks:
        job = await stack.post("s", "kelp", webhook=hooks.hook)
        [sent] = await hooks.got(1)
        await stack.collector.got(submit_job=1, wait_in_queue=1, run_attempt=1, request_model=1, send_webhook=1)
    spans = {span.name: span for span in stack.collector.spans}
    assert len(stack.collector.spans) == 5
    assert {span.trace_id for span in spans.values()} == {(await stack.job("s", job))["trace_id"]}
    submitted = spans["submit job"]
    assert (submitted.service, submitted.parent) == ("holdfast-gateway", "")
    for name in ("wait in queue", "run attempt", "send webhook"):
        assert (spans[name].service, spans[name].parent) == ("holdfast-worker", submitted.span_id)
    assert spans["request model"].parent == spans["run attempt"].span_id
    assert spans["run attempt"].attributes["holdfast.job_id"] == job
    assert spans["run attempt"].attributes["holdfast.outcome"] == "completed"
    assert sent.headers["traceparent"].split("-")[1:3] == [submitted.trace_id, spans["send webhook"].span_id]


async def test_the_trace_of_a_client_is_continued_and_named_in_log_lines(stack: Observed) -> None:
    job = await stack.post("s", headers={"traceparent": PARENT, "X-Request-Id": "mine"}, options={"tokens": 1})
    assert (await stack.ended("s", job))["trace_id"] == TRACE
    await stack.collector.got(submit_job=1, run_attempt=1)
    assert {span.trace_id for span in stack.collector.spans} == {TRACE}
    assert stack.collector.named("submit job")[0].parent == PARENT.split("-")[2]
    accepted, started, ended = stack.lines(job)
    assert [line["event"] for line in (accepted, started, ended)] == ["job accepted", "job started", "job completed"]
    assert accepted["request_id"] == "mine"
    assert (started["attempt"], ended["attempt"]) == (1, 1)
    assert {(line["session_id"], line["trace_id"]) for line in (accepted, started, ended)} == {("s", TRACE)}


async def test_a_failed_attempt_is_an_error_with_its_code(processes: Processes, redis_url: str) -> None:
    async with observed(processes, redis_url, model_status="401") as stack:
        await stack.ended("s", await stack.post("s", "kelp"))
        await stack.collector.got(run_attempt=1, request_model=1)
    for span in (*stack.collector.named("run attempt"), *stack.collector.named("request model")):
        assert span.failed
        assert span.attributes["error.type"] == "provider_refused_key"


async def test_without_an_endpoint_the_trace_of_a_client_is_still_stored(processes: Processes, redis_url: str) -> None:
    async with observed(processes, redis_url, HOLDFAST_OTLP_ENDPOINT="") as stack:
        job = await stack.post("s", headers={"traceparent": PARENT}, options={"tokens": 1})
        other = await stack.post("t", headers={"traceparent": PARENT.upper()}, options={"tokens": 1})
        assert (await stack.ended("s", job))["trace_id"] == TRACE
        assert (await stack.ended("t", other))["trace_id"] is None
        assert {line["trace_id"] for line in stack.lines(job)} == {TRACE}
    assert stack.collector.spans == []


@pytest.mark.parametrize("module", ["gateway", "worker"])
async def test_an_endpoint_without_the_extra_stops_a_process_with_a_line_that_says_so(
    processes: Processes, redis_url: str, tmp_path: Path, module: str
) -> None:
    hidden = (
        f"import sys; sys.modules['opentelemetry.exporter'] = None; from holdfast.{module}.__main__ import main; main()"
    )
    env = {"HOLDFAST_REDIS_URL": redis_url, "HOLDFAST_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    process = processes.start([sys.executable, "-c", hidden], **env)
    assert await process.wait() == 2
    assert "HOLDFAST_OTLP_ENDPOINT needs OpenTelemetry" in process.output()
    assert "holdfast-gateway[otel]" in process.output()
