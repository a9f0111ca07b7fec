from __future__ import annotations

import pytest
from holdfast.shared.json_schema import ValidationError, compile_schema


def test_a_document_elsewhere_is_not_fetched() -> None:
    with pytest.raises(ValidationError, match="Retrieval is disabled"):
        compile_schema({"$ref": "http://127.0.0.1:1/schema.json"})


def test_formats_are_not_checked() -> None:
    assert compile_schema({"$schema": "http://json-schema.org/draft-07/schema#", "format": "date"}).is_valid("x")
