"""What an agent takes beside its run is its input: the schema that is offered, and what the function is given."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from datetime import date
from typing import Annotated, Any, Literal

import pytest
from holdfast.shared.errors import SettingsInvalid
from holdfast.worker import AgentError, Run, agent
from holdfast.worker.attempt.agent_call import call
from holdfast.worker.attempt.journal import Step
from holdfast.worker.sdk.registry import CHAT_INPUT, Agent
from pydantic import BaseModel, Field, field_validator


class Trip(BaseModel):
    city: str
    days: Annotated[int, Field(ge=1)] = 1
    start: date | None = None

    @field_validator("city")
    @classmethod
    def is_reachable(cls, city: str) -> str:
        if city == "Atlantis":
            raise ValueError("is under water")
        return city


class Sink:
    """Where events go that nobody reads."""

    def __init__(self) -> None:
        self.kinds: list[str] = []

    async def put(self, kind: str, body: bytes, step: Step | None = None) -> None:
        self.kinds.append(kind)

    async def flush(self) -> None: ...


def offered(function: Callable[..., Any]) -> Agent:
    mark: Agent = agent(function).__holdfast_agent__  # type: ignore[attr-defined]
    return mark


def run_with(given: Any) -> Run:
    return Run(
        Sink(), session_id="s", job_id="j", attempt=1, input=given, options={}, metadata={}, history=[]
    )  # fmt: skip


async def result_of(function: Callable[..., Any], given: Any) -> Any:
    return await call(offered(function), run_with(given))


def test_a_function_of_the_run_alone_takes_a_chat() -> None:
    assert offered(plain).schema == CHAT_INPUT
    assert offered(plain).function is plain


async def test_a_model_is_the_whole_input_and_the_function_gets_the_validated_object() -> None:
    async def planner(run: Run, trip: Trip) -> Trip:
        return trip

    assert offered(planner).schema == Trip.model_json_schema()
    given = {"city": "Rome", "start": "2026-05-01"}
    assert await result_of(planner, given) == Trip(city="Rome", start=date(2026, 5, 1))


async def test_plain_hints_are_the_fields_of_an_object() -> None:
    async def planner(run: Run, city: str, *, days: int = 1, pace: Literal["slow", "fast"] = "slow") -> Any:
        return city, days, pace

    schema = offered(planner).schema
    assert (schema["required"], schema["additionalProperties"]) == (["city"], False)
    assert schema["properties"]["pace"]["enum"] == ["slow", "fast"]
    assert await result_of(planner, {"city": "Rome", "pace": "fast"}) == ("Rome", 1, "fast")


async def test_every_kind_of_function_may_take_fields() -> None:
    async def streaming(run: Run, word: str) -> AsyncIterator[str]:
        yield word

    def generating(run: Any, word: str) -> Iterator[str]:
        yield word

    def returning(run: Any, word: str) -> str:
        return word

    for function in (streaming, generating):
        run = run_with({"word": "hi"})
        await call(offered(function), run)
        assert run._sink().kinds == ["text.delta"]  # type: ignore[attr-defined]
    assert await result_of(returning, {"word": "hi"}) == "hi"


async def test_what_only_the_model_finds_wrong_fails_the_job_by_field() -> None:
    async def planner(run: Run, trip: Trip) -> None: ...

    with pytest.raises(AgentError, match="city: Value error, is under water") as caught:
        await result_of(planner, {"city": "Atlantis"})
    assert caught.value.code == "input_invalid"


async def plain(run: Run) -> None: ...
async def no_run() -> None: ...
async def no_run_but(city: str) -> None: ...
async def any_number(run: Run, *cities: str) -> None: ...
async def any_names(run: Run, **more: str) -> None: ...
async def untyped(run: Run, city) -> None: ...  # type: ignore[no-untyped-def]  # noqa: ANN001
async def unknown_type(run: Run, city: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821
async def no_json(run: Run, city: asyncio.Event) -> None: ...
async def no_schema(run: Run, city: Callable[[], int]) -> None: ...
async def hidden(run: Run, _city: str) -> None: ...


@pytest.mark.parametrize(
    ("function", "says"),
    [
        (no_run, "no_run: the first parameter of an agent is its Run"),
        (no_run_but, "the first parameter of an agent is its Run"),
        (any_number, r"\*cities: 'str' cannot be filled from a job's input"),
        (any_names, r"\*\*more: 'str' cannot be filled"),
        (untyped, "city needs a type hint"),
        (unknown_type, "name 'Nowhere' is not defined"),
        (no_json, "Event"),
        (no_schema, "Cannot generate a JsonSchema"),
        (hidden, "_city: 'str' cannot be filled"),
        (Trip, "an agent is a function"),
    ],
)
def test_a_signature_that_no_input_can_fill_is_refused_with_its_name(function: Callable[..., Any], says: str) -> None:
    with pytest.raises(SettingsInvalid, match=says) as caught:
        agent(function)
    assert str(caught.value).startswith(f"@agent {function.__name__}: ")
    assert "\n" not in str(caught.value)


def test_hints_and_a_schema_of_ones_own_contradict_each_other() -> None:
    async def planner(run: Run, trip: Trip) -> None: ...

    with pytest.raises(SettingsInvalid, match="planner: type hints or input=, not both"):
        agent(input=Trip)(planner)


@pytest.mark.parametrize(
    ("schema", "says"),
    [
        ({"type": "text"}, '@agent input= is no JSON schema: type: "text" is not valid'),
        ({"properties": {"a": {"pattern": "(?=a)"}}}, "properties: a: pattern: .* without look-around"),
    ],
)
def test_a_schema_that_is_none_is_refused(schema: dict[str, Any], says: str) -> None:
    with pytest.raises(SettingsInvalid, match=says):
        agent(input=schema)(plain)


def test_a_schema_may_refer_to_documents_that_are_not_fetched() -> None:
    agent(input={"$ref": "https://127.0.0.1:1/schema.json"})(plain)


def test_what_only_a_type_checker_knows_is_no_hindrance() -> None:
    async def planner(run: Nowhere, days: int) -> Nowhere: ...  # type: ignore[name-defined]  # noqa: F821

    assert list(offered(planner).schema["properties"]) == ["days"]
