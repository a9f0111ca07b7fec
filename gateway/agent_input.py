"""Check the input of a job against the schema of its agent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from holdfast.gateway.errors import BodyInvalid
from holdfast.gateway.schema import allows, check
from holdfast.shared.log.conversation import NO_FILES, is_text, joined, place_of_file

Messages = list[dict[str, Any]]


def check_input(given: Any, schema: bytes) -> None:
    """Check an input against an encoded JSON schema.

    Raises:
        BodyInvalid: names the fields that the schema does not allow; only the first file if it is the files that are
            not allowed.
    """
    try:
        check(given, schema, "input")
    except BodyInvalid:
        file = place_of_file(given)
        if file is None or not any(allows(text, schema) for text in _without_files(given["messages"])):
            raise
        raise BodyInvalid([(f"input.{file}", NO_FILES)]) from None


def _without_files(messages: Messages) -> Iterator[Any]:
    """Yield the forms in which the texts of messages are sent: as messages, and a single one also as a string."""
    texts = [{**message, "content": _texts(message["content"])} for message in messages]
    yield {"messages": texts}
    if len(texts) == 1:
        yield texts[0]["content"]


def _texts(content: str | list[dict[str, Any]]) -> Any:
    return content if isinstance(content, str) else joined([part for part in content if is_text(part)])
