"""deploy/Caddyfile before gateways that these tests make up. Skipped where there is no caddy on the path."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import httpx2
import pytest

from tests.support.ports import free_port
from tests.support.process import Processes, until
from tests.support.sse import SseStream

CADDYFILE = Path(__file__).resolve().parents[2] / "deploy/Caddyfile"
GATEWAYS = re.compile(r"dynamic a gateway 8000 \{[^}]*\}")

pytestmark = pytest.mark.skipif(shutil.which("caddy") is None, reason="caddy is not installed")

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: %s\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(content: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(content), content)


@dataclass
class FakeGateway:
    """Takes requests, and answers each as the test says. `heads` holds what came."""

    answer: Answer
    heads: list[bytes] = field(default_factory=list)
    address: str = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            self.heads.append(await reader.readuntil(b"\r\n\r\n"))
            await self.answer(reader, writer)
        writer.close()


@contextlib.asynccontextmanager
async def gateway(answer: Answer) -> AsyncIterator[FakeGateway]:
    fake = FakeGateway(answer)
    server = await asyncio.start_server(fake.take, "127.0.0.1", 0)
    fake.address = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield fake
    server.close()


def answering(text: str, status: str = "200 OK", media_type: str = "application/json") -> Answer:
    """An answer that is whole at once."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = f"HTTP/1.1 {status}\r\nContent-Type: {media_type}\r\nContent-Length: {len(text)}\r\n"
        writer.write(f"{head}Connection: close\r\n\r\n{text}".encode())
        await writer.drain()

    return answer


async def dying(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A gateway that takes a request and is gone."""


@pytest.fixture
def proxy(processes: Processes, tmp_path: Path) -> Callable[..., Awaitable[str]]:
    """Starts a proxy before gateways at the given addresses, or as it is shipped; answers its own address."""

    async def start(*gateways: str) -> str:
        port = free_port()
        text = CADDYFILE.read_text("utf-8")
        assert text.count(":8000 {") == 1
        assert len(GATEWAYS.findall(text)) == 1
        text = text.replace(":8000 {", f":{port} {{\n\tbind 127.0.0.1")
        if gateways:
            text = GATEWAYS.sub(f"to {' '.join(gateways)}", text)
        config = tmp_path / "Caddyfile"
        config.write_text(text, "utf-8")
        folder = str(tmp_path)
        command = ["caddy", "run", "--config", str(config), "--adapter", "caddyfile"]
        process = processes.start(command, XDG_CONFIG_HOME=folder, XDG_DATA_HOME=folder)
        await process.until_output("serving initial configuration")
        return f"http://127.0.0.1:{port}"

    return start


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(trust_env=False, timeout=30) as client:
        yield client


@pytest.mark.parametrize("media_type", ["text/event-stream", "application/x-ndjson"])
async def test_a_piece_of_a_stream_arrives_before_the_next_one_is_written(
    proxy: Callable[..., Awaitable[str]], media_type: str
) -> None:
    seen = asyncio.Semaphore(0)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM % media_type.encode())
        for number in range(20):
            writer.write(chunk(b"id: 1-%d\ndata: x\n\n" % number))
            await writer.drain()
            await seen.acquire()

    async with gateway(answer) as fake:
        url = await proxy(fake.address)
        stream = SseStream(f"{url}/v1/sessions/s/events", headers={"Accept": media_type, "Accept-Encoding": "gzip"})
        async with stream:
            assert "content-encoding" not in stream.headers
            frames = aiter(stream)
            for number in range(20):
                assert (await anext(frames)).id == f"1-{number}"
                seen.release()


async def test_a_gateway_hears_at_once_that_its_viewer_has_left(proxy: Callable[..., Awaitable[str]]) -> None:
    left = asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM % b"text/event-stream" + chunk(b"data: x\n\n"))
        await reader.read()  # nothing more is ever written: only the closed connection says it
        left.set()

    async with gateway(answer) as fake:
        async with SseStream(f"{await proxy(fake.address)}/v1/sessions/s/events") as stream:
            await anext(aiter(stream))
        await asyncio.wait_for(left.wait(), 30)


@pytest.mark.parametrize("path", ["/v1/sessions/s/events", "/v1/sessions/s/jobs/j/events?raw=true"])
async def test_an_event_source_that_finds_no_gateway_is_told_to_come_back(
    proxy: Callable[..., Awaitable[str]], path: str
) -> None:
    async with SseStream(await proxy() + path, headers={"Connection": "close"}) as stream:
        assert stream.status == 200
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert stream.headers["cache-control"] == "no-cache, no-transform"
        assert [frame async for frame in stream] == []
        assert 1000 <= int(stream.parser.retry_ms or 0) < 2000


async def test_an_event_source_whose_gateway_dies_before_it_answers_is_told_to_come_back(
    proxy: Callable[..., Awaitable[str]],
) -> None:
    async with gateway(dying) as fake:
        url = await proxy(fake.address)
        async with SseStream(f"{url}/v1/sessions/s/events", headers={"Connection": "close"}) as stream:
            assert stream.status == 200
            assert [frame async for frame in stream] == []
            assert stream.parser.retry_ms is not None


@pytest.mark.parametrize(
    ("method", "path", "accept"),
    [
        ("GET", "/v1/sessions/s/events", "application/x-ndjson"),
        ("GET", "/v1/sessions/s", "*/*"),
        ("POST", "/v1/sessions/s/jobs", "*/*"),
        ("POST", "/v1/sessions/s/events", "text/event-stream"),
    ],
)
async def test_everybody_else_who_finds_no_gateway_gets_a_problem(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient, method: str, path: str, accept: str
) -> None:
    answer = await http.request(method, await proxy() + path, headers={"Accept": accept})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0
    problem = answer.json()
    assert (problem["status"], problem["code"]) == (503, "gateway_unavailable")


async def test_a_post_that_a_gateway_took_is_not_sent_to_another(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(dying) as one, gateway(dying) as other:
        url = await proxy(one.address, other.address)
        for sent in range(1, 5):
            answer = await http.post(f"{url}/v1/jobs", json={"agent": "a"}, headers={"Idempotency-Key": "k"})
            assert answer.status_code == 503
            assert len(one.heads) + len(other.heads) == sent


async def test_a_get_that_a_gateway_took_and_died_of_is_asked_of_another(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(dying) as one, gateway(answering("{}")) as other:
        url = await proxy(one.address, other.address)
        assert [(await http.get(f"{url}/v1/agents")).status_code for _ in range(4)] == [200] * 4
        assert one.heads


async def test_a_gateway_that_is_not_there_is_passed_over(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(answering("{}")) as fake:
        url = await proxy(f"127.0.0.1:{free_port()}", fake.address)
        assert [(await http.get(f"{url}/v1/agents")).status_code for _ in range(4)] == [200] * 4


async def test_a_post_that_meets_a_gateway_that_is_not_there_gets_through_once_or_is_refused(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    """Older Caddies cannot send a body again that the first attempt has closed, though nobody has read it."""
    async with gateway(answering("{}", "202 Accepted")) as fake:
        url = await proxy(f"127.0.0.1:{free_port()}", fake.address)
        answers = [await http.post(f"{url}/v1/jobs", json={"agent": "a"}) for _ in range(6)]
        statuses = [answer.status_code for answer in answers]
        assert set(statuses) <= {202, 503}
        assert len(fake.heads) >= statuses.count(202) > 0
        assert all(answer.json()["code"] == "gateway_unavailable" for answer in answers if answer.status_code == 503)


async def test_what_a_gateway_answers_passes_unchanged_and_says_which_one_it_was(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    refusal = answering('{"code":"session_unknown"}', "404 Not Found", "application/problem+json")
    async with gateway(refusal) as fake:
        answer = await http.get(await proxy(fake.address) + "/v1/sessions/s/events")
        assert answer.status_code == 404
        assert answer.text == '{"code":"session_unknown"}'
        assert answer.headers["holdfast-gateway"] == fake.address
        assert "server" not in answer.headers


async def test_a_gateway_s_own_503_keeps_its_reasons(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(answering('{"code":"not_ready"}', "503 Service Unavailable")) as fake:
        answer = await http.get(await proxy(fake.address) + "/readyz")
        assert (answer.status_code, answer.text) == (503, '{"code":"not_ready"}')


async def test_headers_of_more_than_32_kib_are_refused(
    proxy: Callable[..., Awaitable[str]], http: httpx2.AsyncClient
) -> None:
    async with gateway(answering("{}")) as fake:
        answer = await http.get(await proxy(fake.address), headers={"X-Large": "x" * 40_000})
        assert answer.status_code == 431
        assert fake.heads == []


async def test_a_request_whose_headers_do_not_come_to_an_end_is_closed(proxy: Callable[..., Awaitable[str]]) -> None:
    url = await proxy()
    reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert await asyncio.wait_for(reader.read(), 60) == b""
    writer.close()


async def test_the_proxy_ends_within_its_grace_time_though_streams_are_open(
    processes: Processes, proxy: Callable[..., Awaitable[str]]
) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(STREAM % b"text/event-stream" + chunk(b"data: x\n\n"))
        await reader.read()

    async with gateway(answer) as fake, SseStream(f"{await proxy(fake.address)}/v1/sessions/s/events") as stream:
        await anext(aiter(stream))
        (process,) = processes._started
        process.terminate()
        await until(lambda: not process.running)
