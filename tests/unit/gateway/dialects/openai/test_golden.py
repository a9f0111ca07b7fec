"""The bytes of each feature of a log, in both of OpenAI's protocols. A changed file is a change of the protocol.

    python -m tests.unit.gateway.dialects.openai.test_golden

writes the files anew, for a change that is meant."""

from __future__ import annotations

from pathlib import Path

import orjson
import pytest
from holdfast.gateway.dialects.openai.completions import CompletionHead, CompletionTranslation
from holdfast.gateway.dialects.openai.response_object import ResponseHead
from holdfast.gateway.dialects.openai.responses import ResponseTranslation
from holdfast.gateway.dialects.translation import Numbered, Translation
from holdfast.shared.ids import parse_id
from holdfast.shared.log.entries import Entry

DATA = Path(__file__).parents[4] / "data" / "openai"
FEATURES = sorted(path.name.removesuffix(".log.jsonl") for path in DATA.glob("*.log.jsonl"))
TRANSLATIONS = {
    "responses": ResponseTranslation(ResponseHead("resp_s1", "writer", 1763683200, b'{"metadata":{}}')),
    "completions": CompletionTranslation(CompletionHead("chatcmpl-s1", "writer", 1763683200), include_usage=True),
}


def log_of(feature: str) -> list[Entry]:
    entries = []
    for line in (DATA / f"{feature}.log.jsonl").read_bytes().splitlines():
        logged = orjson.loads(line)
        event = logged["event"]
        body = orjson.dumps(event)
        entries.append(Entry(parse_id(logged["id"]), event["type"], event.get("job_id", ""), body, None))
    return entries


def wire_of(translation: Translation, log: list[Entry]) -> bytes:
    dialect = Numbered(translation)
    return dialect.opening + dialect.frames(dialect.initial_state, log)[0]


def golden(feature: str, protocol: str) -> Path:
    return DATA / f"{feature}.{protocol}.sse"


@pytest.mark.parametrize("protocol", TRANSLATIONS)
@pytest.mark.parametrize("feature", FEATURES)
def test_the_bytes_of_a_feature_are_as_ever(feature: str, protocol: str) -> None:
    assert wire_of(TRANSLATIONS[protocol], log_of(feature)) == golden(feature, protocol).read_bytes()


if __name__ == "__main__":
    for feature in FEATURES:
        for protocol, translation in TRANSLATIONS.items():
            golden(feature, protocol).write_bytes(wire_of(translation, log_of(feature)))
