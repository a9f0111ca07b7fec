"""Jobs, cancellations and answers over a WebSocket, with a real worker where one is needed."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx2
import pytest
from holdfast.gateway.principal import Principal
from starlette.types import Scope
from websockets.asyncio.client import ClientConnection
from websockets.exceptions import InvalidStatus

from tests.support.javascript import Program
from tests.support.log import Session
from tests.support.process import Gateway, Processes
from tests.support.redis_server import RedisServer
from tests.support.served import Served, served
from tests.support.websocket_client import open_socket, receive, receive_until, request, until_closed


@pytest.fixture
async def gateway(redis_url: str) -> AsyncIterator[Served]:
    async with served(redis_url) as gateway:
        await gateway.offer("scripted")
        yield gateway


@pytest.fixture
async def socket(gateway: Served) -> AsyncIterator[ClientConnection]:
    """A viewer of the session `s`, which need not exist yet."""
    async with open_socket(gateway.port, query="?wait=true") as socket:
        yield socket


async def reader(_: Scope) -> Principal:
    return Principal(rights=frozenset({"read"}))


async def nobody(_: Scope) -> Principal:
    return Principal(rights=frozenset())


class TestReplies:
    async def test_a_job_is_accepted_as_by_the_call(self, gateway: Served, socket: ClientConnection) -> None:
        reply = await request(socket, type="job", ref="1", agent="scripted", input="hi")
        job_id = reply["job_id"]
        assert reply == {
            "type": "reply",
            "to": "job",
            "ref": "1",
            "job_id": job_id,
            "session_id": "s",
            "status": "queued",
            "position": 0,
            "cursor": "0-0",
            "events_url": f"/v1/sessions/s/jobs/{job_id}/events",
            "session_events_url": "/v1/sessions/s/events",
        }
        assert (await gateway.client.get(f"/v1/sessions/s/jobs/{job_id}")).json()["status"] == "queued"

    async def test_the_same_idempotency_key_returns_the_first_job(self, socket: ClientConnection) -> None:
        job = {"type": "job", "agent": "scripted", "input": "hi", "idempotency_key": "k"}
        first, second = await request(socket, **job), await request(socket, **job)
        assert (first["job_id"], first.get("replayed")) == (second["job_id"], None)
        assert second["replayed"] is True
        assert (await request(socket, **job | {"input": "ho"}))["code"] == "idempotency_mismatch"

    @pytest.mark.parametrize("text", ["STOP", " STOP\n", '{"type":"cancel"}', '{"type":"cancel","job_id":"j1"}'])
    async def test_the_running_job_is_cancelled(self, gateway: Served, session: Session, text: str) -> None:
        attempt = await session.started()
        async with open_socket(gateway.port) as socket:
            await receive(socket)
            await socket.send(text)
            reply = await receive(socket)
        assert reply == {"type": "reply", "to": "cancel", "session_id": "s", "job_id": "j1", "status": "running"}
        assert (await session.log_writer.intents("s", attempt.epoch)).cancel == {"j1": "user"}

    async def test_messages_are_carried_out_one_after_the_other(self, socket: ClientConnection) -> None:
        for ref in range(50):
            await socket.send(json.dumps({"type": "job", "ref": str(ref), "agent": "scripted", "input": "hi"}))
        replies = [message for message in [await receive(socket) for _ in range(50)] if message["type"] == "reply"]
        assert [(reply["ref"], reply["position"]) for reply in replies] == [(str(ref), ref) for ref in range(50)]

    async def test_a_viewer_that_catches_up_gets_replies_and_every_event(
        self, gateway: Served, session: Session
    ) -> None:
        attempt = await session.started()
        await session.append(attempt, 1, *("x" * 1000 for _ in range(2999)))
        async with open_socket(gateway.port, query="?raw=true") as socket:
            await socket.send("STOP")
            messages = [await receive(socket) for _ in range(3001)]
        assert [message["to"] for message in messages if "to" in message] == ["cancel"]
        ids = [message["id"] for message in messages if "id" in message]
        assert ids == [f"{attempt.epoch}-{seq}" for seq in range(1, 3001)]

    async def test_a_message_may_have_the_size_of_a_body(self, socket: ClientConnection) -> None:
        reply = await request(socket, type="job", agent="scripted", input="x" * 1_000_000)
        assert reply["type"] == "reply"
        await socket.send("x" * 1_048_577)
        assert (await until_closed(socket))[1:] == (1009, "a message must have at most 1048576 bytes")


class TestErrors:
    @pytest.mark.parametrize(
        ("text", "field", "detail"),
        [
            ("stop", "body", "must be valid JSON"),
            ("[]", "body", "should be an object, or the text STOP"),
            ("{}", "type", "should be one of answer, cancel, job"),
            ('{"type":"delete"}', "type", "should be one of answer, cancel, job"),
            ('{"type":["job"]}', "type", "should be one of answer, cancel, job"),
            ('{"type":"cancel","ref":7}', "ref", "should be a string of at most 128 characters"),
            ('{"type":"cancel","job_id":7}', "job_id", "should be a string"),
            ('{"type":"cancel","job_id":"j1","job":1}', "job", "unknown field"),
            ('{"type":"answer","job_id":"j1"}', "value", "is required"),
            ('{"type":"answer","job_id":"j1","value":1,"at":2}', "at", "unknown field"),
            ('{"type":"job","input":"hi"}', "agent", "is required"),
            ('{"type":"job","agent":"scripted","input":"hi","timeout":1}', "timeout", "unknown field"),
            ('{"type":"job","agent":"scripted","input":7}', "input", "must be a string or an object"),
            (
                '{"type":"job","agent":"scripted","input":"hi","idempotency_key":""}',
                "idempotency_key",
                "should be 1 to",
            ),
            ('{"type":"job","agent":"scripted","input":"hi","idempotency_key":1}', "idempotency_key", "should be 1 to"),
            ('{"type":"job","agent":"scripted","input":[' + "[1]," * 60_000 + "1]}", "body", "at most 50000 names"),
        ],
    )
    async def test_bad_input_names_the_field_and_keeps_the_connection(
        self, session: Session, socket: ClientConnection, text: str, field: str, detail: str
    ) -> None:
        await session.submit()
        await socket.send(text)
        error = (await receive_until(socket, type="error"))[-1]
        assert (error["status"], error["code"], error["field"]) == (422, "invalid_request", field)
        assert detail in error["detail"]
        assert (await request(socket, type="cancel"))["type"] == "reply"

    async def test_an_error_has_the_ref_and_the_type_of_its_message(self, socket: ClientConnection) -> None:
        error = await request(socket, type="job", ref="r", agent="other", input="hi")
        assert (error["to"], error["ref"], error["code"], error["status"]) == ("job", "r", "agent_unknown", 404)

    async def test_a_cancel_before_the_first_job_says_that_there_is_no_session(self, socket: ClientConnection) -> None:
        assert (await request(socket, type="cancel"))["code"] == "session_unknown"

    async def test_an_unknown_job_is_said_to_be_unknown(self, session: Session, socket: ClientConnection) -> None:
        await session.submit()
        assert (await request(socket, type="cancel", job_id="j2"))["code"] == "job_unknown"
        assert (await request(socket, type="answer", job_id="../x", value=1))["code"] == "job_unknown"

    async def test_without_redis_a_message_is_to_be_repeated(self, redis_server: Callable[[], RedisServer]) -> None:
        server = redis_server()
        async with served(server.url) as gateway, open_socket(gateway.port, query="?wait=true") as socket:
            server.kill()
            error = await request(socket, type="cancel", ref="r")
            assert (error["to"], error["ref"], error["code"]) == ("cancel", "r", "log_unavailable")
            assert error["retry_after_s"] > 0

    async def test_a_job_for_a_full_backlog_says_when_to_come_back(self, redis_url: str) -> None:
        async with served(redis_url, session_backlog_limit=1) as gateway:
            await gateway.offer("scripted")
            async with open_socket(gateway.port, query="?wait=true") as socket:
                job = {"type": "job", "agent": "scripted", "input": "hi"}
                await request(socket, **job)
                error = await request(socket, **job)
        assert (error["code"], error["retry_after_s"]) == ("queue_full", 5)

    @pytest.mark.parametrize(
        "message",
        [
            {"type": "job", "agent": "scripted", "input": "hi"},
            {"type": "cancel"},
            {"type": "cancel", "job_id": "j1"},
            {"type": "answer", "value": 1},
        ],
    )
    async def test_every_message_needs_the_right_of_its_call(
        self, redis_url: str, session: Session, message: dict[str, Any]
    ) -> None:
        await session.started()
        async with served(redis_url, authenticate=reader) as gateway:
            await gateway.offer("scripted")
            async with open_socket(gateway.port) as socket:
                assert (await request(socket, **message))["code"] == "forbidden"


async def test_a_caller_who_may_not_read_is_refused(redis_url: str, session: Session) -> None:
    await session.started()
    async with served(redis_url, authenticate=nobody) as gateway:
        with pytest.raises(InvalidStatus) as refused:
            await open_socket(gateway.port, query="?wait=true")
    assert refused.value.response.status_code == 403
    assert json.loads(refused.value.response.body or b"{}")["code"] == "forbidden"


class TestWithAWorker:
    @pytest.fixture
    async def running(self, processes: Processes, redis_url: str) -> Gateway:
        """A gateway and a worker as processes."""
        processes.worker(redis_url)
        gateway = processes.gateway(redis_url)
        await gateway.until_ready()
        return gateway

    async def submit(self, socket: ClientConnection, **options: Any) -> str:
        """The id of a new job; repeated until the worker has announced its agent."""
        while True:
            reply = await request(socket, type="job", agent="scripted", input="hi", options=options)
            if reply["type"] == "reply":
                return str(reply["job_id"])
            assert reply["code"] in ("no_agents", "agent_unknown")
            await asyncio.sleep(0.05)

    async def test_a_job_with_a_question_is_answered_and_ends(self, running: Gateway) -> None:
        port = int(running.url.rpartition(":")[2])
        async with open_socket(port, query="?wait=true") as socket:
            job_id = await self.submit(socket, tokens=3, interval_ms=1, ask="Which tea?")
            await receive_until(socket, type="question.asked")
            assert (await request(socket, type="answer", value="Green"))["to"] == "answer"
            assert (await request(socket, type="answer", job_id=job_id, value="Black"))["code"] == "question_answered"
            messages = await receive_until(socket, type="job.completed")
        assert "".join(message.get("text", "") for message in messages).endswith("w0 w1 w2 ")

    async def test_stop_ends_the_job_for_every_viewer(self, running: Gateway) -> None:
        port = int(running.url.rpartition(":")[2])
        async with open_socket(port, query="?wait=true") as one, open_socket(port, query="?wait=true") as other:
            await self.submit(one, tokens=10_000, interval_ms=20)
            await receive_until(one, type="text.delta")
            await one.send("STOP")
            for socket in (one, other):
                assert (await receive_until(socket, type="job.cancelled"))[-1]["by"] == "user"

    async def test_the_websocket_of_node_and_of_browsers_sends_and_receives(self, running: Gateway) -> None:
        source = """
            const socket = new WebSocket(given.url, "holdfast.v1");
            let waiting = true;
            socket.onmessage = ({data}) => {
                const message = JSON.parse(data);
                if (message.type === "error") setTimeout(post, 50);
                if (message.type === "text.delta" && waiting) { waiting = false; socket.send("STOP"); }
                if (message.type === "job.cancelled") { say([socket.protocol, message.by]); socket.close(1000); }
            };
            const post = () => socket.send(JSON.stringify(
                {type: "job", agent: "scripted", input: "hi", options: {tokens: 10000, interval_ms: 20}}));
            socket.onopen = post;
            socket.onclose = ({code, wasClean}) => say([code, wasClean]);
        """
        url = running.url.replace("http", "ws") + "/v1/sessions/s/ws?wait=true"
        async with Program(source, url=url) as program:
            assert await program.read() == ["holdfast.v1", "user"]
            assert await program.read() == [1000, True]

    async def test_a_job_that_is_drained_and_taken_over_ends_equal_to_the_log(
        self, processes: Processes, redis_url: str
    ) -> None:
        lease = {"HOLDFAST_LEASE_SECONDS": "1"}
        dying = processes.worker(redis_url, **lease)
        gateways = [processes.gateway(redis_url) for _ in range(2)]
        for gateway in gateways:
            await gateway.until_ready()
        ports = [int(gateway.url.rpartition(":")[2]) for gateway in gateways]
        async with open_socket(ports[0], query="?wait=true&raw=true") as socket:
            await self.submit(socket, tokens=100, interval_ms=20, tools=2)
            seen = await receive_until(socket, type="text.delta")
            dying.kill()
            processes.worker(redis_url, **lease)
            gateways[0].terminate()
            rest, code, _ = await until_closed(socket)
        assert code == 1013
        seen += rest
        async with open_socket(ports[1], query=f"?raw=true&last_event_id={seen[-1]['id']}") as socket:
            seen += await receive_until(socket, type="job.completed")
        async with httpx2.AsyncClient(base_url=gateways[1].url, trust_env=False) as client:
            url = f"/v1/sessions/s/jobs/{seen[-1]['job_id']}/events?raw=true"
            log = await client.get(url, headers={"Accept": "application/x-ndjson"})
        assert seen == [json.loads(line) for line in log.text.splitlines() if line]
        assert [event["attempt"] for event in seen if event["type"] == "job.started"] == [1, 2]
        assert await gateways[0].wait() == 0
        assert "Traceback" not in gateways[0].output()
