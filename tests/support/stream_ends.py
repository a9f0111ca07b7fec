"""See how the streams of every dialect end, directly and through proxies, and what real clients make of it.

    scripts/stream-ends --write docs/dialects/stream-ends.md

Two gateways take turns: while clients read, the one that serves them is told to stop, and the other one goes on."""

from __future__ import annotations

import argparse
import asyncio
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx2

from tests.support.browser import Page, browser
from tests.support.completions import completions
from tests.support.dialect_followers import AG_UI, AI_SDK, NATIVE
from tests.support.followers import LIBRARIES, OPENAI, WEBSOCKET, Follow, Followers, JobAt, Shown, shown_by
from tests.support.gated import Gate
from tests.support.ports import free_port
from tests.support.process import Gateway, Processes, until
from tests.support.proxies import CADDY, Way, caddy, nginx
from tests.support.redis_server import RedisServer
from tests.support.stream_wires import End, Stream, Wires, completion, requests_of
from tests.support.workers import Client

AGENTS = {"HOLDFAST_AGENTS": "tests.support.gated", "HOLDFAST_LEASE_SECONDS": "1"}
CLIENTS = NATIVE | OPENAI | WEBSOCKET | LIBRARIES | AI_SDK
COMPLETION = "chat completions"
COMPLETED = "the job completes"
# Reads a job with the browser's own EventSource and with the client of the page.
IN_CHROMIUM = """(async ([session, job]) => {
    window.source = {text: "", ended: false, errors: 0};
    const source = new EventSource(`/v1/sessions/${session}/jobs/${job}/events`);
    source.onerror = () => { window.source.errors += 1; };
    source.onmessage = ({data}) => {
        const event = JSON.parse(data);
        if (event.type === "text.delta") window.source.text += event.text;
        if (event.type === "job.completed") { window.source.ended = true; source.close(); }
    };
    const { Client } = await import("/web/client/index.js");
    window.followed = new Client().session(session);
    window.followed.subscribe(() => {});
})(%s)"""
SOURCE, PAGE = "window.source", "window.followed.state.messages.at(-1)"


@dataclass
class Turns:
    """Two ports of gateways, of which one is served at a time, and a worker."""

    processes: Processes
    redis_url: str
    ports: tuple[int, int] = field(default_factory=lambda: (free_port(), free_port()))
    serving: int = 0
    gateways: list[Gateway] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.ports[self.serving]}"

    async def start(self) -> None:
        """Start the gateway whose turn it is."""
        self.gateways.append(self.processes.gateway(self.redis_url, port=self.ports[self.serving]))
        await self.gateways[-1].until_ready()

    async def drain(self) -> None:
        """Tell the gateway to stop, once the other one serves."""
        stopping = self.gateways[-1]
        self.serving = 1 - self.serving
        await self.start()
        stopping.terminate()
        assert await stopping.wait() == 0

    async def stop(self) -> None:
        self.gateways[-1].kill()


@dataclass
class Stage:
    """A deployment behind proxies. `ways`: those to the gateways. `direct` changes with the gateway that serves."""

    turns: Turns
    jobs: Client
    folder: Path
    proxied: Sequence[Way]
    count: int = 0

    @property
    def ways(self) -> list[Way]:
        return [Way("direct", self.turns.url, "1.1"), *self.proxied]

    def gate(self) -> Gate:
        """Return a closed gate of a new job."""
        self.count += 1
        return Gate(self.folder / f"gate-{self.count}")

    async def newest(self, known: set[str]) -> JobAt:
        """Wait for a session that is not known yet, and return its job."""
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            async with httpx2.AsyncClient(base_url=self.turns.url, trust_env=False) as client:
                sessions = (await client.get("/v1/sessions")).json()["sessions"]
            found[:] = [each for each in sessions if each["session_id"] not in known]
            return bool(found)

        await until(there)
        known.add(found[0]["session_id"])
        return JobAt(self.turns.url, found[0]["session_id"], found[0]["job_id"])

    async def submit(self, gate: Gate) -> JobAt:
        session_id = f"s{self.count}"
        async with httpx2.AsyncClient(base_url=self.turns.url, trust_env=False) as client:
            body = {"agent": "gated", "input": str(gate.path)}
            answer = await client.post(f"/v1/sessions/{session_id}/jobs", json=body)
        return JobAt(self.turns.url, session_id, answer.json()["job_id"])

    async def answer(self, job: JobAt) -> None:
        """Answer the question of a job, once it is asked."""
        await self.jobs.until(job.session_id, job.job_id, lambda state: state.status == "waiting")
        async with httpx2.AsyncClient(base_url=self.turns.url, trust_env=False) as client:
            path = f"/v1/sessions/{job.session_id}/jobs/{job.job_id}/answer"
            assert (await client.post(path, json={"value": "Faro"})).status_code == 202

    async def log(self, job: JobAt) -> Shown:
        entries = await self.jobs.entries(job.session_id)
        return shown_by(await self.jobs.kept(job.session_id, job.job_id), [str(entry.id) for entry in entries])


@dataclass
class Seen:
    """The ends of streams, by what made them end."""

    drained: dict[Stream, End]
    completed: dict[Stream, End]
    absent: dict[Stream, End]


async def see_wires(stage: Stage) -> Seen:
    """Read a job in every dialect and every way: until its gateway stops, until it completes, and without a gateway."""
    gate = stage.gate()
    wires, known = Wires(), set[str]()
    asked = {COMPLETION: completion("gated", str(gate.path))}
    async with wires.open(stage.ways, asked):
        job = await stage.newest(known)
        await stage.answer(job)
        gate.open(10)
        async with wires.open(stage.ways, requests_of(job)):
            await wires.show("9 ")
            await stage.turns.drain()
            drained = await wires.ended()
    everything = asked | requests_of(job)
    wires = Wires()
    async with wires.open(stage.ways, everything):
        await wires.show("9 ")
        gate.open()
        completed = await wires.ended()
    await stage.turns.stop()
    wires = Wires()
    async with wires.open(stage.ways, everything):
        absent = await wires.ended()
    await stage.turns.start()
    return Seen(drained, completed, absent)


async def see_clients(stage: Stage, way: Way) -> dict[str, str]:
    """Let every client read a job this way while its gateway stops. Returns what they make of it."""
    gate = stage.gate()
    job = (await stage.submit(gate))._replace(url=way.url)
    async with AsyncExitStack() as stack:
        watching = await stack.enter_async_context(Followers(job, CLIENTS))
        await stage.answer(job)
        gate.open(10)
        await watching.show(" 9 ")
        answered = await stack.enter_async_context(Followers(job, AG_UI))
        await answered.show(" 9 ")
        await stage.turns.drain()
        gate.open()
        ended = await watching.ended() | await answered.ended()
    log = await stage.log(job)
    expected = {name: log if shown.ids else replace(log, ids=None) for name, shown in ended.items()}
    return {name: "the whole text" if shown == expected[name] else f"WRONG: {shown}" for name, shown in ended.items()}


async def see_completions(stage: Stage, way: Way) -> dict[str, str]:
    """Let the clients of chat completions read one this way while its gateway stops."""
    gate = stage.gate()
    clients: dict[str, Follow] = completions(gate.path)
    async with Followers(JobAt(way.url, "", ""), clients) as watching:
        await watching.show("Looking. ")
        await stage.turns.drain()
        ended = await watching.ended()
    return {name: "an error" if shown.end == "cut" else f"WRONG: {shown}" for name, shown in ended.items()}


async def see_chromium(stage: Stage, page: Page) -> dict[str, str]:
    """Let a browser read a job this way while its gateway stops, with its EventSource and with the page's client."""
    gate = stage.gate()
    job = await stage.submit(gate)
    await page.evaluate(IN_CHROMIUM % [job.session_id, job.job_id])
    await stage.answer(job)
    gate.open(10)
    await page.until(f"{SOURCE}.text.includes(' 9 ') && {PAGE}?.content.includes(' 9 ')")
    await stage.turns.drain()
    gate.open()
    await page.until(f"{SOURCE}.ended && {PAGE}?.status === 'completed'")
    expected = (await stage.log(job)).text
    shown = {
        "EventSource of Chromium": await page.evaluate(f"{SOURCE}.text"),
        "clients/js in Chromium": await page.evaluate(f"{PAGE}.content"),
    }
    return {name: "the whole text" if text == expected else f"WRONG: {text}" for name, text in shown.items()}


async def see(stage: Stage) -> tuple[Seen, dict[str, dict[str, str]]]:
    """Return the ends of the streams, and by client and way what the clients made of a gateway that stops."""
    clients: dict[str, dict[str, str]] = {}
    seen = await see_wires(stage)
    async with browser() as chromium:
        for way in stage.proxied:
            context = await chromium.context(ignoreHTTPSErrors=True)
            found = await see_chromium(stage, await context.page(way.url))
            await context.close()
            if way.http == "1.1":
                found |= await see_clients(stage, way) | await see_completions(stage, way)
            for name, result in found.items():
                clients.setdefault(name, {})[way.name] = result
    return seen, clients


def tables(seen: Seen, clients: dict[str, dict[str, str]], ways: Sequence[str]) -> str:
    """Return the tables in Markdown."""
    dialects = sorted({dialect for _, dialect in seen.drained}, key=str.casefold)
    lines: list[str] = []
    captions = {COMPLETED: seen.completed, "the gateway stops": seen.drained, "no gateway": seen.absent}
    for caption, ends in captions.items():
        lines += ["", f"| {caption} | {' | '.join(ways)} |", "| --- " * (len(ways) + 1) + "|"]
        by_name = {(way.name, dialect): end for (way, dialect), end in ends.items()}
        for dialect in dialects:
            cells = [_cell(by_name[way, dialect], caption) for way in ways]
            lines.append(f"| {dialect} | {' | '.join(cells)} |")
    proxied = ways[1:]
    lines += ["", f"| client, while its gateway stops | {' | '.join(proxied)} |", "| --- " * (len(proxied) + 1) + "|"]
    for name, results in sorted(clients.items(), key=lambda row: row[0].casefold()):
        lines.append(f"| {name} | {' | '.join(results.get(way, '–') for way in proxied)} |")
    return "\n".join(lines[1:])


def _cell(end: End, caption: str) -> str:
    if caption == COMPLETED and "to Faro." not in end.text:
        return f"WRONG: {end}"
    return end.how if end.status in (0, 200) else str(end.status)


async def run(folder: Path) -> str:
    """See everything, and return the tables."""
    server, processes = RedisServer(folder / "redis"), Processes(folder)
    server.start()
    jobs = Client(server.url)
    turns = Turns(processes, server.url)
    try:
        processes.worker(server.url, **AGENTS)
        await turns.start()
        await jobs.offered("gated")
        proxied = [*await nginx(processes, _made(folder / "nginx"), turns.ports)]
        proxied += await caddy(processes, _made(folder / "caddy"), turns.ports)
        stage = Stage(turns, jobs, folder, proxied)
        return tables(*await see(stage), [way.name for way in stage.ways])
    finally:
        await jobs.close()
        processes.kill()
        server.kill()


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


def versions() -> str:
    """Return the versions of the proxies."""
    found = subprocess.run(["nginx", "-v"], capture_output=True, text=True, check=False).stderr.split("/")[-1].strip()
    of_caddy = subprocess.run([str(CADDY), "version"], capture_output=True, text=True, check=True).stdout.split()[0]
    return f"nginx {found}, Caddy {of_caddy.removeprefix('v')}"


def main() -> int:
    """Print the tables, or put them into a document. Returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="scripts/stream-ends", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", type=Path, help="a document with <!-- stream ends --> around the tables")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        text = f"{versions()}.\n\n{asyncio.run(run(Path(folder)))}"
    if chosen.write:
        marked = re.sub(
            r"(<!-- stream ends -->\n).*?(\n<!-- /stream ends -->)",
            lambda marks: f"{marks[1]}{text}{marks[2]}",
            chosen.write.read_text(),
            flags=re.DOTALL,
        )
        chosen.write.write_text(marked)
    print(text)  # noqa: T201
    return 1 if "WRONG" in text else 0


if __name__ == "__main__":
    sys.exit(main())
