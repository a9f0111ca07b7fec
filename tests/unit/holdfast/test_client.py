"""The command's client: a job is posted once, and a stream that is cut goes on where it was."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from holdfast.cli import client
from holdfast.cli.client import Event, Refused, Tail, UrlUnusable, connect, post

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
GONE = b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n"


class Canned:
    """Answers one connection after the other with the bytes that it was given. `requests` are what came.

    With `silent`, each connection stays open after its bytes until the client closes it."""

    def __init__(self, *answers: bytes, silent: bool = False) -> None:
        self._silent = silent
        self.requests: list[str] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._serve, args=(answers,))
        self._thread.start()

    def _serve(self, answers: tuple[bytes, ...]) -> None:
        for answer in answers:
            connection, _ = self._listener.accept()
            with connection:
                self.requests.append(connection.recv(65536).decode())
                connection.sendall(answer)
                while self._silent and connection.recv(65536):
                    pass

    def close(self) -> None:
        self._listener.close()
        self._thread.join(10)


@pytest.fixture
def canned() -> Iterator[Any]:
    servers: list[Canned] = []

    def start(*answers: bytes, silent: bool = False) -> Canned:
        servers.append(Canned(*answers, silent=silent))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "FIRST_RETRY_SECONDS", 0.0)


def last_event_ids(server: Canned) -> list[str]:
    lines = [line for request in server.requests for line in request.split("\r\n")]
    return [line.partition(": ")[2] for line in lines if line.lower().startswith("last-event-id")]


def test_a_stream_cut_inside_an_event_goes_on_after_the_last_whole_one(canned: Any) -> None:
    first = b'id: 1-1\ndata: {"type":"a"}\n\nid: 1-2\ndata: {"ty'
    second = b'id: 1-2\ndata: {"type":"b"}\n\n'
    server = canned(HEAD + first, HEAD + second, GONE)
    with connect(server.url) as connection:
        assert list(Tail(connection, "/x")) == [Event("1-1", {"type": "a"}), Event("1-2", {"type": "b"})]
    assert last_event_ids(server) == ["1-1", "1-2"]


def test_a_stream_that_falls_silent_is_lost_and_read_on_over_another_connection(canned: Any) -> None:
    head = HEAD.replace(b"Connection: close\r\n", b"")
    server = canned(head + b'id: 1-1\ndata: {"type":"a"}\n\n', GONE, silent=True)
    with connect(server.url, silence_s=0.2) as connection:
        assert list(Tail(connection, "/x")) == [Event("1-1", {"type": "a"})]
    assert last_event_ids(server) == ["1-1"]


def test_a_stream_counts_as_silent_after_25_seconds() -> None:
    with connect("http://127.0.0.1:1") as connection:
        assert connection.timeout.read == 25


@pytest.mark.parametrize(
    "url", ["nonsense", "", "ftp://h", "http://300.1.1.1", "http://127.0.0.1:99999", "http://[::1", "http://h:0"]
)
def test_an_address_at_which_there_can_be_no_gateway_is_refused_with_the_form_of_one(url: str) -> None:
    with pytest.raises(UrlUnusable, match="allowed: http://host:port or https://host:port"):
        connect(url)


def test_an_event_without_an_id_of_its_own_has_none_and_moves_no_cursor(canned: Any) -> None:
    body = b'id: 1-1\ndata: {"type":"a"}\n\ndata: {"type":"job.queued"}\n\n'
    server = canned(HEAD + body, GONE)
    with connect(server.url) as connection:
        assert [event.id for event in Tail(connection, "/x")] == ["1-1", None]
    assert last_event_ids(server) == ["1-1"]


def test_an_id_without_data_is_where_the_next_connection_begins(canned: Any) -> None:
    server = canned(HEAD + b"id: 7-7\n\n", GONE)
    with connect(server.url) as connection:
        assert list(Tail(connection, "/x", only_new=True)) == []
    assert last_event_ids(server) == ["7-7"]


def test_a_refusal_is_what_the_gateway_said(canned: Any) -> None:
    problem = b'{"code":"session_unknown","detail":"There is no such session"}'
    head = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/problem+json\r\nContent-Length: %d\r\n\r\n"
    server = canned(head % len(problem) + problem)
    with connect(server.url) as connection, pytest.raises(Refused, match=r"no such session \(session_unknown\)"):
        list(Tail(connection, "/x"))


def test_a_gateway_that_never_answered_is_said_to_be_away(canned: Any) -> None:
    server = canned()
    server.close()
    with connect(server.url) as connection, pytest.raises(Refused, match="does not answer"):
        list(Tail(connection, "/x"))


def test_a_post_whose_answer_was_lost_is_repeated_under_the_same_key(canned: Any) -> None:
    accepted = b'{"job_id":"j"}'
    unavailable = b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
    server = canned(b"", unavailable, b"HTTP/1.1 202 Accepted\r\nContent-Length: 14\r\n\r\n" + accepted)
    with connect(server.url) as connection:
        assert post(connection, "/v1/jobs", {}, "key-1") == {"job_id": "j"}
    assert [request.lower().count("idempotency-key: key-1") for request in server.requests] == [1, 1, 1]


def test_a_post_that_is_refused_for_good_is_not_repeated(canned: Any) -> None:
    server = canned(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
    with connect(server.url) as connection, pytest.raises(Refused, match="404"):
        post(connection, "/v1/jobs", {}, "key-1")
    assert len(server.requests) == 1
