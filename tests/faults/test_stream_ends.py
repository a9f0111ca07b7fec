"""How streams end behind the proxy that is shipped: the short form of scripts/stream-ends."""

from __future__ import annotations

from pathlib import Path

from tests.support.process import Processes
from tests.support.proxies import caddy
from tests.support.stream_ends import AGENTS, Stage, Turns, see_wires
from tests.support.workers import Client

# Clients of the others take a clean end for the end of the answer.
END_CLEANLY = {"SSE", "NDJSON", "AI SDK, Workflow"}


async def test_a_stop_is_a_cut_and_a_completed_job_a_clean_end_over_http1_and_http2(
    processes: Processes, redis_url: str, client: Client, tmp_path: Path
) -> None:
    turns = Turns(processes, redis_url)
    processes.worker(redis_url, **AGENTS)
    await turns.start()
    await client.offered("gated")
    seen = await see_wires(Stage(turns, client, tmp_path, await caddy(processes, tmp_path, turns.ports)))
    assert {end.how for end in seen.completed.values()} == {"end"}
    assert all("to Faro." in end.text for end in seen.completed.values())
    for (way, dialect), end in seen.drained.items():
        cut = "cut" if way.http == "1.1" else "RST_STREAM 2"
        assert end.how == ("end" if dialect in END_CLEANLY else cut), (way.name, dialect)
    for (way, dialect), end in seen.absent.items():
        expected = 0 if way.name == "direct" else 200 if dialect == "SSE" else 503
        assert end.status == expected, (way.name, dialect)
