from __future__ import annotations

import re

import pytest
from holdfast.worker.agents.models import NO_KEY, Model, known_models, resolve


def test_without_a_setting_there_is_a_model_of_each_provider() -> None:
    models = known_models()

    assert set(models) == {"openai", "anthropic"}
    assert models["openai"].key({"OPENAI_API_KEY": "k"}) == "k"
    assert models["anthropic"].key({"OPENAI_API_KEY": "k"}) is None


@pytest.mark.parametrize(
    ("entry", "model"),
    [
        ("a=openai:gpt-5.5", Model("a", "openai", "gpt-5.5", key_variable="OPENAI_API_KEY")),
        (" a = anthropic:claude ", Model("a", "anthropic", "claude", key_variable="ANTHROPIC_API_KEY")),
        ("a=openai:llama3:8b@http://[::1]:11434/v1", Model("a", "openai", "llama3:8b", "http://[::1]:11434/v1")),
        ("a=openai:x@2025@https://h/v1#K_1", Model("a", "openai", "x@2025", "https://h/v1", "K_1")),
        ("a=openai:x#K", Model("a", "openai", "x", None, "K")),
        ("a=openai:x|non_streamed | b", Model("a", "openai", "x", None, "OPENAI_API_KEY", ("non_streamed", "b"))),
        ("openai=openai:x", Model("openai", "openai", "x", key_variable="OPENAI_API_KEY")),
    ],
)
def test_an_entry_names_a_model_and_the_way_to_it(entry: str, model: Model) -> None:
    assert known_models(f"{entry},")[model.name] == model


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        ("openai:gpt-5.5", "does not begin with a name"),
        ("a b=openai:x", "does not begin with a name"),
        ("a=gpt-5.5", "a: has to be name=provider:model"),
        ("a=gemini:x", "a provider is one of openai, anthropic"),
        ("a=openai:", "a: has to be"),
        ("a=openai:@https://h/v1", "a: has to be"),
        ("a=openai:x|", "a: has to be"),
        ("b=openai:y, a=openai:x#sk-secret", "a: behind # stands the name of an environment variable"),
        ("a=openai:x#", "a: behind # stands"),
        ("a=openai:x@https://me:secret@h/v1", "a: a base URL has a host"),
        ("a=openai:x@https://secret@h/v1", "a: a base URL has a host"),
        ("a=openai:x@https://h/v1?key=secret", "a: a base URL has a host"),
        ("a=openai:x@https:///v1", "a: a base URL has a host"),
        ("a=openai:x@https://h:secret/v1", "a: a base URL has a host"),
        ("a=openai:x, a=openai:y", "a stands there twice"),
    ],
)
def test_an_entry_that_cannot_be_used_is_named_without_repeating_what_may_be_a_key(setting: str, named: str) -> None:
    with pytest.raises(ValueError, match=re.escape(named)) as raised:
        known_models(setting)

    assert "secret" not in str(raised.value)


def test_a_server_of_ones_own_never_gets_the_key_of_a_provider() -> None:
    model = known_models("a=openai:x@http://127.0.0.1/v1")["a"]

    assert model.key({"OPENAI_API_KEY": "k"}) == NO_KEY


def test_another_model_of_a_server_goes_the_same_way() -> None:
    models = known_models("a=openai:x@http://127.0.0.1/v1#K|b")

    assert resolve("llama3:8b", models["a"], models, None) == Model(
        "a", "openai", "llama3:8b", "http://127.0.0.1/v1", "K", ("b",)
    )
    assert resolve("openai:y", models["a"], models, None) == Model(
        "openai:y", "openai", "y", key_variable="OPENAI_API_KEY"
    )
    assert resolve("a", models["openai"], models, None) is models["a"]
