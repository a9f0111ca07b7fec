"""Which calls of the client are sent again, and what they raise in the end."""

from __future__ import annotations

import json
from typing import Any

import pytest
from holdfast.client import Refused, Unavailable, requests
from holdfast.client.exchange import Exchange
from holdfast.client.replies import NoReply, Reply
from holdfast.client.requests import Request
from holdfast.client.retries import Retries
from holdfast.gateway.routes.job_body import JobBody

LOST = NoReply("gone", sent=True)
UNSENT = NoReply("refused", sent=False)
POST = requests.submit("hi", {})
ANSWER = requests.answer("s", "j", "yes", None)


def exchange(request: Request = POST, patience_s: float = 60) -> Exchange:
    return Exchange(request, Retries(patience_s))


def reply(status: int, headers: dict[str, str] | None = None, **body: Any) -> Reply:
    return Reply(status, headers or {}, json.dumps(body).encode())


@pytest.mark.parametrize("outcome", [LOST, UNSENT, reply(502), reply(503), reply(504), reply(429), reply(408)])
def test_a_post_under_a_key_is_sent_again(outcome: Reply | NoReply) -> None:
    call = exchange()
    assert isinstance(call.take(outcome), float)
    assert call.take(reply(202, job_id="j")) == reply(202, job_id="j")


def test_every_try_has_the_same_key_and_every_job_its_own() -> None:
    keys = {requests.submit("hi", {}).headers["Idempotency-Key"] for _ in range(100)}
    assert len(keys) == 100
    assert requests.submit("hi", {"idempotency_key": "mine"}).headers == {"Idempotency-Key": "mine"}


@pytest.mark.parametrize("status", [400, 401, 403, 404, 409, 413, 422, 500, 301, 200])
def test_a_refusal_for_good_is_raised_at_once(status: int) -> None:
    with pytest.raises(Refused) as refused:
        exchange().take(reply(status, code="c", detail="d", field="f"))
    error = refused.value
    assert (error.status, error.code, error.detail, error.field, str(error)) == (status, "c", "d", "f", "d (c)")


def test_a_refusal_without_a_problem_names_its_status() -> None:
    with pytest.raises(Refused, match="the response is 404"):
        exchange().take(Reply(404, {}, b"<html>"))


def test_retry_after_is_obeyed() -> None:
    assert exchange().take(reply(429, {"retry-after": "17"})) == 17


def test_when_patience_is_over_the_last_outcome_is_raised() -> None:
    with pytest.raises(Unavailable, match="gone"):
        exchange(patience_s=0).take(LOST)
    with pytest.raises(Refused, match="full"):
        exchange(patience_s=0).take(reply(429, code="queue_full", detail="full"))


@pytest.mark.parametrize("outcome", [UNSENT, reply(429)])
def test_an_answer_to_whatever_is_asked_is_sent_again_only_if_it_cannot_have_arrived(outcome: Reply | NoReply) -> None:
    assert isinstance(exchange(ANSWER).take(outcome), float)


@pytest.mark.parametrize(("outcome", "error"), [(LOST, Unavailable), (reply(503), Refused)])
def test_an_answer_to_whatever_is_asked_is_not_repeated(outcome: Reply | NoReply, error: type[Exception]) -> None:
    with pytest.raises(error):
        exchange(ANSWER).take(outcome)
    assert isinstance(exchange(requests.answer("s", "j", "yes", "q1")).take(outcome), float)


def test_a_session_that_is_gone_after_a_lost_response_was_deleted() -> None:
    call = exchange(requests.delete("s"))
    call.take(LOST)
    assert call.take(reply(404)) == reply(404)
    with pytest.raises(Refused):
        exchange(requests.delete("s")).take(reply(404))


def test_the_options_of_a_job_are_the_fields_that_a_gateway_reads() -> None:
    of_the_client = {"session_id", "idempotency_key"}
    assert set(requests.JobOptions.__annotations__) - of_the_client == set(JobBody.model_fields) - {"input"}
