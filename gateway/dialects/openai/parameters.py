"""What the parameters of both of OpenAI's protocols have in common."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Annotated, Any, Literal, TypeVar

from holdfast.gateway.dialects.openai.errors import ParameterUnsupported
from holdfast.gateway.errors import body_invalid, limit_unknown_fields
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import PydanticCustomError
from starlette.requests import Request

Model = TypeVar("Model", bound=BaseModel)

# OpenAI's limits.
MAX_METADATA = 16
MAX_METADATA_KEY = 64
MAX_METADATA_LENGTH = 512

_UNSUPPORTED = "unsupported"


def _nothing(value: Any) -> None:
    """Refuse any value that asks for something."""
    if value not in (None, [], {}):
        raise PydanticCustomError(_UNSUPPORTED, "is not supported")


def _metadata(value: Any) -> Any:
    """Check metadata by hand: pydantic would report each of a thousand wrong keys, which takes long."""
    known = isinstance(value, dict) and len(value) <= MAX_METADATA
    if value is not None and not (known and all(map(_is_pair, value.items()))):
        allowed = f"must be an object of at most {MAX_METADATA} strings of at most {MAX_METADATA_LENGTH} characters"
        raise PydanticCustomError("metadata", allowed)
    return value


def _is_pair(pair: tuple[str, Any]) -> bool:
    key, value = pair
    return len(key) <= MAX_METADATA_KEY and isinstance(value, str) and len(value) <= MAX_METADATA_LENGTH


def _text(value: Any) -> Any:
    if value not in (None, ["text"]):
        raise PydanticCustomError("modalities", 'must be ["text"]')
    return value


Metadata = Annotated[Any, AfterValidator(_metadata)]
TextModality = Annotated[Any, AfterValidator(_text)]
Nothing = Annotated[Any, AfterValidator(_nothing)]
"""A parameter that an agent of Holdfast could not honour, such as tools of the client."""


class TextOnly(BaseModel):
    """The only format of a text that every agent has."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["text"]


def parse(model: type[Model], value: Any, ignored: Collection[str]) -> Model:
    """Check the JSON value of a body, without the fields in `ignored`.

    Raises BodyInvalid; ParameterUnsupported, which names the parameter."""
    known = {name: field for name, field in value.items() if name not in ignored} if isinstance(value, dict) else value
    try:
        return model.model_validate(limit_unknown_fields(model, known))
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
