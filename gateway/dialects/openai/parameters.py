"""What the parameters of both of OpenAI's protocols have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from holdfast.gateway.dialects.openai.errors import ParameterUnsupported
from holdfast.gateway.errors import body_invalid
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
    """Refuse any value that has an effect."""
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


class JsonFormat(BaseModel):
    """A format of JSON: `text.format` has its schema in itself, `response_format` in `json_schema`."""

    model_config = ConfigDict(extra="ignore")

    type: Literal["text", "json_object", "json_schema"]
    name: str | None = None
    description: str | None = None
    schema_: Annotated[dict[str, Any] | None, Field(alias="schema")] = None
    strict: bool | None = None
    json_schema: dict[str, Any] | None = None

    def option(self) -> dict[str, Any] | None:
        """Return the option of the job, in the form of `response_format`. None: plain text."""
        if self.type != "json_schema":
            return None if self.type == "text" else {"type": self.type}
        own = {"name": self.name, "description": self.description, "schema": self.schema_, "strict": self.strict}
        given = self.json_schema or {name: value for name, value in own.items() if value is not None}
        return {"type": "json_schema", "json_schema": given}


class Extras(BaseModel):
    """Holdfast's own parameters, which OpenAI's clients send by `extra_body`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    options: dict[str, Any] = {}


def parse(model: type[Model], value: Any) -> Model:
    """Check the JSON value of a body. Raises BodyInvalid; ParameterUnsupported, which names the parameter."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problems = error.errors(include_url=False, include_context=False, include_input=False)
        for problem in problems:
            if problem["type"] == _UNSUPPORTED:
                raise ParameterUnsupported(str(problem["loc"][0]), str(problem["msg"])) from None
        raise body_invalid(problems, "body") from None


def job_options(options: Mapping[str, Any], extras: Extras | None) -> dict[str, Any]:
    """Return the options of a job. Those that were not given are left out, since not every agent has them."""
    known = {name: value for name, value in options.items() if value is not None}
    return known if extras is None else known | extras.options


class StreamQuery(BaseModel):
    """The query of `GET /responses/{id}`. Other parameters have no effect."""

    stream: bool = False
    starting_after: Annotated[int, Field(ge=0, le=2**53)] | None = None


def parse_query(model: type[Model], request: Request) -> Model:
    """Parse the query of a request. Raises BodyInvalid."""
    try:
        return model.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise body_invalid(
            error.errors(include_url=False, include_context=False, include_input=False), "query"
        ) from None
