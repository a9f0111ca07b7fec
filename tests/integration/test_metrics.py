"""What gateways and workers count, read from the ports of real processes."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx2
import pytest

from tests.support.observed import Observed, Samples, observed, scrape, total
from tests.support.ports import free_port, free_ports
from tests.support.process import Processes, until
from tests.support.receiver import receiver
from tests.support.redis_server import RedisServer

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"\b(?:holdfast|process)_[a-z0-9_]+\b")


@pytest.fixture
async def stack(processes: Processes, redis_url: str) -> AsyncIterator[Observed]:
    async with observed(processes, redis_url) as stack:
        yield stack


async def status(address: str) -> int:
    async with httpx2.AsyncClient(trust_env=False) as client:
        return (await client.get(address)).status_code


async def test_health_and_metrics_are_on_a_port_of_their_own_and_metrics_nowhere_else(stack: Observed) -> None:
    for path in ("/livez", "/readyz", "/metrics"):
        assert await status(stack.gateway_metrics + path) == 200
        assert await status(stack.worker_metrics + path) == 200
    assert await status(stack.worker_metrics + "/other") == 404
    assert (await stack.client.get("/metrics")).status_code == 404
    assert (await stack.client.get("/readyz")).status_code == 200


async def test_a_worker_without_redis_is_alive_and_not_ready(
    processes: Processes, redis_server: Callable[..., RedisServer]
) -> None:
    server = redis_server()
    async with observed(processes, server.url, HOLDFAST_LEASE_SECONDS="0.5") as stack:
        assert await status(f"{stack.worker_metrics}/readyz") == 200
        server.kill()

        async def unready() -> bool:
            return await status(f"{stack.worker_metrics}/readyz") == 503

        await until(unready)
        assert await status(f"{stack.worker_metrics}/livez") == 200


async def test_each_of_several_gateway_processes_has_a_port_for_metrics(processes: Processes, redis_url: str) -> None:
    port = free_ports(2)
    gateway = processes.gateway(redis_url, HOLDFAST_GATEWAY_PROCESSES="2", HOLDFAST_METRICS_PORT=str(port))
    await gateway.until_ready()
    found: list[float] = []
    for number in range(2):
        await until(lambda number=number: answers(port + number))  # type: ignore[misc]
        samples = await scrape(f"http://127.0.0.1:{port + number}")
        found.append(total(samples, "process_start_time_seconds"))
        assert total(samples, "holdfast_process_info", process="gateway") == 1
    gateway.terminate()
    assert await gateway.wait() == 0


async def answers(port: int) -> bool:
    try:
        return await status(f"http://127.0.0.1:{port}/livez") == 200
    except httpx2.TransportError:
        return False


async def test_a_taken_port_for_metrics_stops_a_gateway_with_a_line_that_says_so(
    processes: Processes, redis_url: str, stack: Observed
) -> None:
    port = stack.gateway_metrics.rpartition(":")[2]
    second = processes.gateway(redis_url, HOLDFAST_METRICS_PORT=port)
    assert await second.wait() == 2
    assert f"HOLDFAST_METRICS_PORT: 127.0.0.1:{port}: " in second.output()


async def test_a_chat_counts_its_tokens_its_first_token_and_its_provider(stack: Observed) -> None:
    await stack.ended("s", await stack.post("s", "kelp"))
    await stack.counted("holdfast_attempts_ended_total", agent="kelp", outcome="completed")
    samples = await stack.samples()
    assert total(samples, "holdfast_tokens_total", agent="kelp", direction="input") == 7
    assert total(samples, "holdfast_tokens_total", agent="kelp", direction="output") == 4
    assert total(samples, "holdfast_deltas_total", agent="kelp") == 4
    assert total(samples, "holdfast_first_token_seconds_count", agent="kelp") == 1
    assert total(samples, "holdfast_queue_wait_seconds_count", agent="kelp") == 1
    assert total(samples, "holdfast_provider_requests_total", provider="openai", outcome="ok") == 1
    assert total(samples, "holdfast_provider_seconds_count", provider="openai") == 1
    assert total(samples, "holdfast_append_seconds_count") >= 1


async def test_a_failing_provider_is_counted_by_the_code_of_its_error(processes: Processes, redis_url: str) -> None:
    async with observed(processes, redis_url, model_status="401") as stack:
        await stack.ended("s", await stack.post("s", "kelp"))
        await stack.counted("holdfast_attempts_ended_total", agent="kelp", outcome="failed")
        samples = await stack.samples()
    assert total(samples, "holdfast_provider_requests_total", outcome="provider_refused_key") == 1
    assert total(samples, "holdfast_job_errors_total", code="provider_refused_key") == 1


async def test_an_attempt_in_a_process_of_its_own_is_counted_by_its_worker(
    processes: Processes, redis_url: str
) -> None:
    env = {"HOLDFAST_MAX_ATTEMPTS": "2", "HOLDFAST_LEASE_SECONDS": "0.5"}
    async with observed(processes, redis_url, **env) as stack:
        job = await stack.post("s", options={"tokens": 5, "interval_ms": 1, "crash_at": 2})
        await stack.worker.wait()
        port = free_port()
        worker = processes.worker(redis_url, HOLDFAST_METRICS_PORT=str(port), **env)
        await until(lambda: answers(port), describe=worker.describe)
        await stack.ended("s", job)
        stack.worker_metrics = f"http://127.0.0.1:{port}"
        await stack.counted("holdfast_attempts_ended_total", agent="scripted", outcome="completed")
        samples = await stack.samples()
    assert total(samples, "holdfast_deltas_total", agent="scripted") == 5
    assert total(samples, "holdfast_first_token_seconds_count", agent="scripted") == 1
    assert total(samples, "holdfast_dead_workers_total") == 1
    assert total(samples, "holdfast_takeovers_total") == 1


async def test_the_queue_counts_jobs_by_their_state_and_agent(processes: Processes, redis_url: str) -> None:
    async with observed(processes, redis_url, HOLDFAST_MAX_JOBS="1") as stack:
        await stack.post("asks", options={"ask": "Which one?"})
        await stack.counted("holdfast_worker_jobs", state="asking", agent="scripted")
        await stack.post("runs", options={"tokens": 1, "interval_ms": 600_000})
        await stack.counted("holdfast_worker_jobs", state="running", agent="scripted")
        await stack.post("runs")
        await stack.post("waits")
        for state in ("asking", "running", "deferred", "waiting"):
            await stack.counted("holdfast_queue_jobs", state=state, agent="scripted")
        samples = await stack.samples()
        counts = {state: total(samples, "holdfast_queue_jobs", state=state) for state in ("asking", "running")}
        assert counts == {"asking": 1, "running": 1}
        assert total(samples, "holdfast_queue_workers") == 1
        assert total(samples, "holdfast_queue_oldest_wait_seconds", agent="scripted") > 0


async def test_a_job_whose_worker_was_drained_while_it_waits_for_a_person_still_counts_as_asking(
    processes: Processes, redis_url: str
) -> None:
    async with observed(processes, redis_url) as stack:
        await stack.post("asks", options={"ask": "Which one?"})
        await stack.counted("holdfast_worker_jobs", state="asking", agent="scripted")
        stack.worker.terminate()
        await stack.worker.wait()
        port = free_port()
        stack.worker_metrics = f"http://127.0.0.1:{port}"
        worker = processes.worker(redis_url, HOLDFAST_METRICS_PORT=str(port))
        await until(lambda: answers(port), describe=worker.describe)
        await stack.counted("holdfast_queue_jobs", state="asking", agent="scripted")
        assert total(await stack.samples(), "holdfast_queue_jobs", state="deferred") == 0


async def test_the_lag_of_an_end_and_the_pages_of_catching_up_are_counted(stack: Observed) -> None:
    job = await stack.post("s", options={"tokens": 3, "interval_ms": 100})
    async with stack.client.stream("GET", f"/v1/sessions/s/jobs/{job}/events") as live:
        async for _ in live.aiter_bytes():
            pass
    samples = await stack.samples()
    assert total(samples, "holdfast_stream_lag_seconds_count") == 1
    assert total(samples, "holdfast_stream_catch_up_pages_total") >= 1


async def exercised(stack: Observed) -> Samples:
    """Do a little of everything that is counted."""
    async with receiver() as hooks:
        await stack.ended("secret-session", await stack.post("secret-session", "kelp", webhook=hooks.hook))
        await stack.ended("secret-session", await stack.post("secret-session", options={"fail_at": 0}))
        await stack.post("secret-session", options={"ask": "Which one?"})
        await stack.counted("holdfast_queue_jobs", state="asking")
        await stack.counted("holdfast_webhook_tries_total", outcome="delivered")
    return await stack.samples()


async def test_no_label_names_a_session_or_a_job(stack: Observed) -> None:
    samples = await exercised(stack)
    jobs = (await stack.client.get("/v1/sessions/secret-session")).json()["jobs"]
    values = {value for _, labels in samples for _, value in labels}
    assert len(jobs) == 3
    assert not [value for value in values for name in ("secret-session", *jobs) if name in value]
    assert {name for _, labels in samples for name, _ in labels} <= {
        *("agent", "code", "direction", "event", "le", "method", "outcome", "process", "provider"),
        *("replayed", "route", "server", "state", "status", "version"),
    }


async def test_every_metric_of_the_rules_the_dashboard_and_the_docs_is_exported(stack: Observed) -> None:
    exported = {name for name, _ in await exercised(stack)}
    async with httpx2.AsyncClient(trust_env=False) as client:
        for address in (stack.gateway_metrics, stack.worker_metrics):  # families without a sample yet
            text = (await client.get(f"{address}/metrics")).text
            exported |= set(re.findall(r"^# TYPE (\S+)", text, re.MULTILINE))
    dashboard = json.loads((ROOT / "deploy/monitoring/dashboard.json").read_text("utf-8"))
    queries = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    rules = (ROOT / "deploy/monitoring/rules.yml").read_text("utf-8")
    documented = "\n".join((ROOT / "docs" / page).read_text("utf-8") for page in ("metrics.md", "alerts.md"))
    for text in (*queries, rules, documented):
        assert set(NAME.findall(text)) <= exported, text
