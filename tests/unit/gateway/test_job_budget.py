"""The budget in the body of a job, and the deployment's limits of it."""

from __future__ import annotations

import orjson
import pytest
from holdfast.gateway.errors import BodyInvalid
from holdfast.gateway.routes.job_body import job_request, parse_job_body
from holdfast.gateway.submission import budget_within
from holdfast.shared.errors import RequestInvalid


def test_a_budget_above_the_deployments_is_refused_by_name() -> None:
    with pytest.raises(RequestInvalid) as refused:
        budget_within(b'{"tokens":11}', {"tokens": 10})
    assert refused.value.field == "budget.tokens"
    assert "10" in str(refused.value)


def test_the_deployments_limits_complete_a_budget() -> None:
    assert orjson.loads(budget_within(b'{"tokens":9}', {"tokens": 10, "events": 5})) == {"tokens": 9, "events": 5}


def test_without_limits_there_is_no_budget() -> None:
    assert budget_within(b"", {}) == b""


def test_the_body_passes_on_what_it_names() -> None:
    body = parse_job_body({"agent": "a", "input": "x", "budget": {"tokens": 5, "cost_usd": 0.5}})
    assert orjson.loads(job_request(body).budget) == {"tokens": 5, "cost_usd": 0.5}


@pytest.mark.parametrize("budget", [{"tokens": 0}, {"tokens": "5"}, {"events": 5}, {"seconds": -1}, 5])
def test_an_unusable_budget_is_refused(budget: object) -> None:
    with pytest.raises(BodyInvalid):
        parse_job_body({"agent": "a", "input": "x", "budget": budget})
