"""The short form of scripts/schemathesis: every response is as the OpenAPI document declares."""

from __future__ import annotations

import pytest

from tests.support.contract import contract
from tests.support.openapi_requests import attack_new
from tests.support.process import Processes


@pytest.mark.parametrize("authenticates", [False, True])
async def test_requests_made_from_the_document_get_responses_that_it_declares(
    processes: Processes, redis_url: str, *, authenticates: bool
) -> None:
    answers = await attack_new(processes, redis_url, authenticates=authenticates, examples=4, number=42)
    assert answers.wrong == []
    assert answers.operations == contract().operations
