from __future__ import annotations

import pytest

from shared.errors import SettingsInvalid
from shared.settings import CommonSettings, read_settings


def test_the_log_stands_on_the_queues_server_unless_it_has_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis://queue")
    assert read_settings(CommonSettings).log_url == "redis://queue"
    monkeypatch.setenv("HOLDFAST_LOG_REDIS_URL", "redis://log")
    assert read_settings(CommonSettings).log_url == "redis://log"


def test_a_setting_out_of_range_is_named_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_RETENTION_EVENTS", "10")
    monkeypatch.setenv("HOLDFAST_LEASE_SECONDS", "soon")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(CommonSettings)
    assert "HOLDFAST_RETENTION_EVENTS: Input should be greater than or equal to 1000" in str(raised.value)
    assert "HOLDFAST_LEASE_SECONDS" in str(raised.value)


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_LEASE_SECONDS", "")
    assert read_settings(CommonSettings).lease_seconds == 10
