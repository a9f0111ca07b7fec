"""deploy/Caddyfile.tls in front of gateways that these tests make up. `scripts/edge` tests deploy/nginx.conf too."""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.support.fake_gateway import STREAM, chunk, gateway
from tests.support.log import Session
from tests.support.node_lines import node_lines
from tests.support.ports import free_port
from tests.support.process import Process, Processes, until
from tests.support.proxies import Certificate, caddyfile, shipped_nginx_config, start_caddy, start_nginx
from tests.support.tls import Authority
from tests.support.websocket_client import open_socket, receive, request, until_closed

LONG = "EDGE_PROXIES" in os.environ
PROXIES = os.environ.get("EDGE_PROXIES", "Caddy").split()
STREAMS = 100 if LONG else 12
OPENER = Path(__file__).resolve().parents[1] / "support/h2_streams.mjs"
HSTS = "max-age=31536000"
GATEWAY_ANSWER = (
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\nX-Content-Type-Options: nosniff\r\n"
    b"Referrer-Policy: no-referrer\r\nX-Request-Id: from-gateway\r\nSet-Cookie: a=set-secret\r\n"
    b"Location: /?ticket=location-secret\r\n\r\n{}"
)


@dataclass
class Edge:
    """A running proxy with TLS at `port`, whose certificate `authority` signed. `http_port`: that of redirections."""

    name: str
    port: int
    http_port: int
    process: Process
    authority: Path
    folder: Path

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    @property
    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.authority)

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, verify=self.context, trust_env=False, timeout=30)

    def log(self) -> str:
        """All that the proxy has logged, anywhere."""
        return self.process.output() + "".join(file.read_text("utf-8") for file in self.folder.glob("*.log"))

    @contextlib.asynccontextmanager
    async def streams(self, count: int, **fields: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        """Open streams over one HTTP/2 connection. Iterate over the lines that tests/support/h2_streams.mjs prints."""
        ca = self.authority.read_text("utf-8")
        async with node_lines(OPENER, url=self.url, streams=count, fields=fields, ca=ca) as lines:
            assert await asyncio.wait_for(anext(lines), 30) == {"protocol": "h2"}
            yield lines

    async def send(self, head: bytes) -> bytes:
        """Send the beginning of a request of HTTP/1.1. Returns what arrives until the connection is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=self.context)
        writer.write(head)
        with contextlib.suppress(ConnectionError):
            received = await asyncio.wait_for(reader.read(), 60)
            writer.close()
            return received
        return b""


Start = Callable[..., Awaitable[Edge]]


@pytest.fixture(params=PROXIES)
def start(request: pytest.FixtureRequest, processes: Processes, tmp_path: Path) -> Start:
    """Starts a proxy in front of gateways at the given addresses."""

    async def start(*gateways: str) -> Edge:
        folder, port, http_port = tmp_path / "proxy", free_port(), free_port()
        folder.mkdir()
        tls, authority = certificate(tmp_path)
        ports = [int(address.rpartition(":")[2]) for address in gateways]
        if request.param == "nginx":
            config = shipped_nginx_config(folder, port, ports, tls, http_port=http_port, quick=not LONG)
            process = await start_nginx(processes, folder, port, config)
        else:
            config = caddyfile(port, ports, tls=tls, http_port=http_port, quick=not LONG)
            process = await start_caddy(processes, folder, config)
        return Edge(request.param, port, http_port, process, authority, folder)

    return start


def certificate(folder: Path) -> tuple[Certificate, Path]:
    """Make a certificate. Returns it, and the file of its authority."""
    authority = Authority(folder)
    authority.server_context("127.0.0.1")
    bundles = folder / "certificates"
    bundles.mkdir()
    file = (folder / "server.pem").rename(bundles / "server.pem")
    return Certificate(file, file, bundles), authority.file


async def as_a_gateway(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(GATEWAY_ANSWER)
    await writer.drain()


async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A gateway that takes a request and is gone."""


async def cutting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(STREAM % b"text/event-stream" + chunk(b"data: x\n\n"))
    await writer.drain()


async def test_many_streams_of_one_http2_connection_get_each_event_before_the_next_is_written(start: Start) -> None:
    events = [asyncio.Event() for _ in range(5)]

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM % b"text/event-stream")
        for number, seen in enumerate(events):
            writer.write(chunk(b"data: %d\n\n" % number))
            await writer.drain()
            await seen.wait()

    async with gateway(answer) as fake:
        edge = await start(fake.address)
        async with edge.streams(STREAMS) as lines:
            for number, seen in enumerate(events):
                arrived = [await asyncio.wait_for(anext(lines), 30) for _ in range(STREAMS)]
                assert sorted(line["stream"] for line in arrived) == list(range(STREAMS))
                assert {line["text"] for line in arrived} == {f"data: {number}\n\n"}
                seen.set()
        assert len(fake.heads) == STREAMS


async def test_a_websocket_passes_through_tls_with_its_close_code(
    processes: Processes, redis_url: str, session: Session, start: Start
) -> None:
    attempt = await session.started()
    real = processes.gateway(redis_url)
    await real.until_ready()
    edge = await start(real.url)
    async with open_socket(edge.port, ssl=edge.context) as socket:
        assert (await receive(socket))["id"] == f"{attempt.epoch}-1"
        assert (await request(socket, type="cancel", job_id="j1"))["status"] == "running"
        real.terminate()
        assert (await until_closed(socket))[1] == 1013


async def test_a_gateway_gets_the_host_the_address_and_the_request_id_of_a_client(start: Start) -> None:
    async with gateway(as_a_gateway) as fake:
        edge = await start(fake.address)
        async with edge.client() as client:
            await client.get("/v1/agents", headers={"X-Forwarded-For": "192.0.2.1", "X-Request-Id": "abc"})
    lines = fake.heads[0].decode().lower().splitlines()
    fields = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert fields["host"] == f"127.0.0.1:{edge.port}"
    assert fields["x-request-id"] == "abc"
    # nginx appends to what the client sent, and gateways read the last address.
    assert fields["x-forwarded-for"] == {"Caddy": "127.0.0.1", "nginx": "192.0.2.1, 127.0.0.1"}[edge.name]


async def test_every_answer_has_each_of_the_fields_that_protect_browsers_once(start: Start) -> None:
    async with gateway(as_a_gateway) as fake:
        edge = await start(fake.address)
        async with edge.client() as client:
            answers = [await client.get("/v1/agents")]
            fake.answer = dying
            answers += [
                await client.post("/v1/jobs"),
                await client.get("/v1/sessions/s/events"),
                await client.get("/v1/sessions/s"),
            ]
    assert [answer.status_code for answer in answers] == [200, 503, 200, 503]
    for answer in answers:
        assert answer.headers.get_list("strict-transport-security") == [HSTS]
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"]
        assert answer.headers.get_list("referrer-policy") == ["no-referrer"]
    assert answers[1].json()["code"] == "gateway_unavailable"
    assert answers[2].text.startswith("retry: 1")


async def test_a_client_of_ag_ui_that_resumes_and_finds_no_gateway_is_cut(start: Start) -> None:
    edge = await start("127.0.0.1:1")
    async with edge.client() as client:
        with pytest.raises(httpx2.RemoteProtocolError):
            await client.post("/ag-ui/demo", headers={"Last-Event-ID": "1763683200123-2.0"})
        assert (await client.post("/ag-ui/demo")).status_code == 503
        lines = await client.get("/v1/sessions/s/events", headers={"Accept": "application/x-ndjson"})
        assert lines.status_code == 503


async def test_plain_http_is_redirected(start: Start) -> None:
    edge = await start("127.0.0.1:1")
    async with httpx2.AsyncClient(trust_env=False) as client:
        answer = await client.get(f"http://127.0.0.1:{edge.http_port}/v1/agents?a=b")
    assert (answer.status_code, answer.headers["location"]) == (308, "https://127.0.0.1/v1/agents?a=b")


async def test_headers_of_more_than_32_kib_are_refused(start: Start) -> None:
    large = {f"x-{number}": "x" * 7000 for number in range(8)}
    async with gateway(as_a_gateway) as fake:
        edge = await start(fake.address)
        async with edge.streams(1, **large) as lines:
            assert (await asyncio.wait_for(anext(lines), 30))["status"] in (431, 400, 0)  # 0: the stream was reset
        head = "GET / HTTP/1.1\r\nHost: x\r\n" + "".join(f"{name}: {value}\r\n" for name, value in large.items())
        received = await edge.send(head.encode())
        assert received[9:12] in (b"431", b"400") or not received  # unread bytes make the kernel reset a connection
        async with edge.client() as client:
            small = dict(list(large.items())[:4])
            assert (await client.get("/", headers=small)).status_code == 200
        assert len(fake.heads) == 1


async def test_a_request_whose_headers_do_not_end_is_closed(start: Start) -> None:
    edge = await start("127.0.0.1:1")
    received = await edge.send(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert received == b"" or received.startswith(b"HTTP/1.1 408")


async def test_no_line_of_a_log_has_a_ticket_a_key_or_a_cookie(start: Start) -> None:
    secret = "planted-secret"
    fields = {"Authorization": f"Bearer {secret}", "Cookie": f"a={secret}", "Referer": f"https://x/?ticket={secret}"}
    fields["X-Api-Key"] = secret

    async with gateway(as_a_gateway) as fake:
        edge = await start(fake.address)
        async with edge.client() as client:

            async def ask(name: str, method: str = "GET") -> None:
                with contextlib.suppress(httpx2.TransportError):
                    await client.request(method, f"/v1/{name}?ticket={secret}", headers=fields)

            await ask("answered")
            fake.answer = dying
            await ask("failed", "POST")
            fake.answer = cutting
            await ask("cut")
            with contextlib.suppress(Exception):
                await open_socket(edge.port, query=f"?ticket={secret}", ssl=edge.context)
        plain = f"http://127.0.0.1:{edge.http_port}/v1/plain?ticket={secret}"
        async with httpx2.AsyncClient(trust_env=False) as client:
            await client.get(plain, headers=fields)
    async with edge.client() as client:
        await ask("absent")
        await ask("absent/events")
    line = f"GET /v1/refused?ticket={secret} HTTP/1.1\r\n".encode()
    await edge.send(line + b"Host: x\r\nX: " + b"x" * 40_000)
    await edge.send(line + b"no field\r\n\r\n")
    await edge.send(line.replace(b"1.1", b"9.9") + b"\r\n")
    await edge.send(line + b"Host: x\r\n")
    await until(lambda: all(f"/v1/{name}" in edge.log() for name in ("answered", "failed", "cut", "absent/events")))
    edge.process.terminate()
    await edge.process.wait()
    log = edge.log()
    assert "/v1/sessions/s/ws" in log
    assert '"request_id":"' in log
    assert "secret" not in log
    assert "ticket" not in log
