"""The client as the command opens it: an outage is one line, and an error of the client one of the command."""

from __future__ import annotations

import pytest

from holdfast.cli.connection import GatewayError, connected, patiently
from tests.support.canned import GONE, HEAD, Canned, response

EVENT = b'retry: 50\n\nid: 1-1\ndata: {"type":"a"}\n\n'


def test_a_lost_connection_is_told_once_and_waited_out(capsys: pytest.CaptureFixture[str]) -> None:
    truncated = HEAD.replace(b"\r\n\r\n", b"\r\nContent-Length: 1000\r\n\r\n")
    server = Canned(truncated + EVENT, b"", HEAD, response("503 Service Unavailable"), GONE)
    with connected(server.url, patience_s=0.1) as client:
        assert [event.id for event in client.stream("s", **patiently())] == ["1-1"]
    server.close()
    assert server.fields("last-event-id") == [None, *["1-1"] * 4]
    printed = capsys.readouterr().err
    assert printed.startswith(f"holdfast: the connection is lost ({server.url} does not answer: ")
    assert printed.count("\n") == printed.count("waiting for the gateway") == 1


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (response("404 Not Found", b'{"code":"session_unknown","detail":"No such session"}'), "No such session"),
        (response("200 OK", b"<html>", "text/html"), "gateway"),
    ],
)
def test_an_error_of_the_client_is_one_of_the_command(answer: bytes, message: str) -> None:
    server = Canned(answer)
    with pytest.raises(GatewayError, match=message), connected(server.url) as client:
        client.session("s")
    server.close()


def test_a_gateway_that_never_answered_is_not_waited_for() -> None:
    server = Canned()
    server.close()
    with pytest.raises(GatewayError, match="does not answer"), connected(server.url, patience_s=0.1) as client:
        list(client.stream("s", **patiently()))


def test_only_new_events_are_asked_for_by_from_now() -> None:
    server = Canned(GONE)
    with connected(server.url) as client:
        list(client.stream("s", **patiently(only_new=True)))
    server.close()
    assert server.requests[0].startswith("GET /v1/sessions/s/events?from=now ")
