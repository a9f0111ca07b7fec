"""What the parameters of both of OpenAI's protocols have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from holdfast.gateway.dialects.openai.errors import ParameterUnsupported
from holdfast.gateway.errors import body_invalid, limit_unknown_fields
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError
from starlette.requests import Request

Model = TypeVar("Model", bound=BaseModel)

Metadata = Annotated[
    dict[Annotated[str, Field(max_length=64)], Annotated[str, Field(max_length=512)]], Field(max_length=16)
]

_UNSUPPORTED = "unsupported"


def _nothing(value: Any) -> None:
    """Refuse any value that asks for something."""
    if value not in (None, [], {}):
        raise PydanticCustomError(_UNSUPPORTED, "is not supported")


Nothing = Annotated[Any, AfterValidator(_nothing)]
"""A parameter that an agent of Holdfast could not honour, such as tools of the client."""


class TextOnly(BaseModel):
    """The only format of a text that every agent has."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["text"]


def parse(model: type[Model], value: Any) -> Model:
    """Check the JSON value of a body. Raises BodyInvalid; ParameterUnsupported, which names the parameter."""
    try:
        return model.model_validate(limit_unknown_fields(model, value))
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        for problem in problems:
            if problem["type"] == _UNSUPPORTED:
                raise ParameterUnsupported(str(problem["loc"][0]), str(problem["msg"])) from None
        raise body_invalid(problems, "body") from None


def job_body(agent: str, given: Any, options: Mapping[str, Any], metadata: Mapping[str, Any]) -> dict[str, Any]:
    """Return the body of a job. Options that were not given are left out, since an agent may not know them."""
    known = {name: value for name, value in options.items() if value is not None}
    return {"agent": agent, "input": given, "options": known, "metadata": dict(metadata)}


class StreamQuery(BaseModel):
    """The query of `GET /responses/{id}`. Other parameters have no effect."""

    stream: bool = False
    starting_after: Annotated[int, Field(ge=0, le=2**53)] | None = None


def stream_query(request: Request) -> StreamQuery:
    """Parse the query of a request. Raises BodyInvalid."""
    try:
        return StreamQuery.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise body_invalid(
            error.errors(include_url=False, include_context=False, include_input=False), "query"
        ) from None
