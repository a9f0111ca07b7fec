"""A gateway and a worker as processes, with their metrics, traces and log lines."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from prometheus_client.parser import text_string_to_metric_families

from tests.support.chat_server import chat_server
from tests.support.collector import TraceCollector, trace_collector
from tests.support.ports import free_port
from tests.support.process import Gateway, Process, Processes, until

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]

SECRET = "whsec_" + "bWV0cmljcy1hbmQtdHJhY2VzLW9mLXRlc3Rz"


async def scrape(address: str) -> Samples:
    """Return the samples at an address by their names and labels."""
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"{address}/metrics")
    assert answer.status_code == 200, answer.text
    families = text_string_to_metric_families(answer.text)
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


def total(samples: Samples, name: str, **labels: str) -> float:
    """Add up the samples of this name that have these labels."""
    wanted = set(labels.items())
    return sum(value for (found, has), value in samples.items() if found == name and wanted <= has)


@dataclass
class Observed:
    """The processes, and the addresses of their ports for metrics."""

    gateway: Gateway
    worker: Process
    gateway_metrics: str
    worker_metrics: str
    collector: TraceCollector
    client: httpx2.AsyncClient

    async def samples(self) -> Samples:
        return await scrape(self.gateway_metrics) | await scrape(self.worker_metrics)

    async def post(self, session: str, agent: str = "scripted", /, **body: Any) -> str:
        headers = body.pop("headers", {})
        body = {"agent": agent, "input": "Why does kelp hold fast?"} | body
        answer = await self.client.post(f"/v1/sessions/{session}/jobs", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return str(answer.json()["job_id"])

    async def job(self, session: str, job: str) -> dict[str, Any]:
        answer = await self.client.get(f"/v1/sessions/{session}/jobs/{job}")
        found: dict[str, Any] = answer.json()
        return found

    async def ended(self, session: str, job: str) -> dict[str, Any]:
        async def look() -> bool:
            return (await self.job(session, job))["ended_at"] is not None

        await until(look, describe=self.worker.describe)
        return await self.job(session, job)

    async def counted(self, name: str, count: float = 1, **labels: str) -> None:
        """Wait until the samples of this name and these labels add up to at least `count`."""

        async def look() -> bool:
            return total(await self.samples(), name, **labels) >= count

        await until(look, describe=lambda: f"{name} {labels}: {self.worker.describe()}")

    def lines(self, job: str) -> list[dict[str, Any]]:
        """The log lines about a job: those of the gateway, then those of the worker, each in their order."""
        texts = [line for process in (self.gateway, self.worker) for line in process.output().splitlines()]
        lines = [json.loads(text) for text in texts if text.startswith("{")]
        return [line for line in lines if line.get("job_id") == job]


@asynccontextmanager
async def observed(
    processes: Processes, redis_url: str, *, model_status: str = "200", **env: str
) -> AsyncIterator[Observed]:
    """Run a gateway and a worker with the agents `scripted` and `kelp`, a chat with a model of a server here.

    `model_status`: of all its responses. `env`: further variables of both processes."""
    ports = free_port(), free_port()
    with trace_collector() as collector, chat_server(int(model_status)) as model_url:
        env = {
            "HOLDFAST_LOG_FORMAT": "json",
            "HOLDFAST_OTLP_ENDPOINT": collector.url,
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "HOLDFAST_MODELS": f"kelp=openai:kelp-1@{model_url}",
            "HOLDFAST_WEBHOOK_SECRET": SECRET,
            "HOLDFAST_WEBHOOK_NETWORKS": "127.0.0.0/8",
        } | env
        gateway = processes.gateway(redis_url, port=None, HOLDFAST_METRICS_PORT=str(ports[0]), **env)
        worker = processes.worker(redis_url, HOLDFAST_METRICS_PORT=str(ports[1]), **env)
        await gateway.until_ready()
        async with httpx2.AsyncClient(base_url=gateway.url, trust_env=False) as client:
            of_gateway, of_worker = (f"http://127.0.0.1:{port}" for port in ports)
            found = Observed(gateway, worker, of_gateway, of_worker, collector, client)
            await until(lambda: _offers(found), describe=worker.describe)
            yield found


async def _offers(found: Observed) -> bool:
    assert found.worker.running, found.worker.describe()
    agents = (await found.client.get("/v1/agents")).json()["agents"]
    return {"scripted", "kelp"} <= {agent["name"] for agent in agents}
