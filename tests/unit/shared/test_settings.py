from __future__ import annotations

import re

import pytest
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.settings import CommonSettings, check_settings, read_settings
from holdfast.worker.process.settings import WorkerSettings


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
    assert sorted(str(raised.value).splitlines()) == [
        "HOLDFAST_LEASE_SECONDS is 'soon'; allowed: a number from 0.5 to 3,600",
        "HOLDFAST_RETENTION_EVENTS is '10'; allowed: a whole number from 1,000",
    ]


def test_a_choice_that_does_not_exist_is_named_with_the_choices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_LOG_FORMAT", "xml")
    with pytest.raises(SettingsInvalid, match="HOLDFAST_LOG_FORMAT is 'xml'; allowed: auto, text, json"):
        read_settings(CommonSettings)


def test_the_errors_of_several_kinds_of_settings_are_reported_together_and_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOLDFAST_LEASE_SECONDS", "soon")
    monkeypatch.setenv("HOLDFAST_PORT", "99999")
    monkeypatch.setenv("HOLDFAST_MAX_JOBS", "0")
    with pytest.raises(SettingsInvalid) as raised:
        check_settings(GatewaySettings, WorkerSettings)
    assert [line.partition(" ")[0] for line in str(raised.value).splitlines()] == [
        "HOLDFAST_LEASE_SECONDS",
        "HOLDFAST_PORT",
        "HOLDFAST_MAX_JOBS",
    ]


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_LEASE_SECONDS", "")
    assert read_settings(CommonSettings).lease_seconds == 10


@pytest.mark.parametrize(
    "url", ["nonsense", "http://127.0.0.1", "redis://127.0.0.1/abc", "redis://[::1", "redis://secret@127.0.0.1:port/0"]
)
def test_an_address_at_which_there_can_be_no_server_is_one_line_that_does_not_quote_it(
    monkeypatch: pytest.MonkeyPatch, url: str
) -> None:
    monkeypatch.setenv("HOLDFAST_LOG_REDIS_URL", url)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(CommonSettings)
    assert "HOLDFAST_LOG_REDIS_URL: " in str(raised.value)
    assert "should be redis://host:6379/0" in str(raised.value)
    assert url not in str(raised.value)


@pytest.mark.parametrize(
    "url", ["redis://h", "rediss://:pw@h:1/3", "unix:///tmp/redis.sock?db=1", "redis://[::1]:6379/0"]
)
def test_the_addresses_of_redis_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", url)
    assert read_settings(CommonSettings).redis_url.removesuffix("?ssl_check_hostname=true") == url


@pytest.mark.parametrize(
    ("agents", "says"),
    [
        ("my_agent.py", "my_agent.py is a file; name its module: my_agent"),
        ("mine, ./agents/my.py", "./agents/my.py is a file; name its module: agents.my"),
        ("/home/me/my_agents.py", "/home/me/my_agents.py is a file; name its module: my_agents"),
        ("my-agent", "my-agent is not a module; allowed: module names as in `import`, separated by commas"),
        ("agents/mine", "agents/mine is not a module"),
    ],
)
def test_what_is_no_name_of_a_module_is_refused_with_what_is(
    monkeypatch: pytest.MonkeyPatch, agents: str, says: str
) -> None:
    monkeypatch.setenv("HOLDFAST_AGENTS", agents)
    with pytest.raises(SettingsInvalid) as caught:
        read_settings(WorkerSettings)
    assert str(caught.value).startswith(f"HOLDFAST_AGENTS: {says}")


def test_a_bad_model_hides_no_other_bad_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    bad = {"MODELS": "zzz", "BATCH_MS": "-1", "AGENTS": "my-agent", "SCRIPTED_AGENT": "maybe", "METRICS_PORT": "0"}
    for name, value in bad.items():
        monkeypatch.setenv(f"HOLDFAST_{name}", value)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(WorkerSettings)
    lines = str(raised.value).splitlines()
    assert sorted(re.findall("HOLDFAST_[A-Z_]+", " ".join(lines))) == sorted(f"HOLDFAST_{name}" for name in bad)
    assert len(lines) == len(bad)


def test_every_bad_entry_of_the_agents_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_AGENTS", "my_agent.py,good,a-b")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(WorkerSettings)
    assert str(raised.value).splitlines() == [
        "HOLDFAST_AGENTS: my_agent.py is a file; name its module: my_agent",
        "HOLDFAST_AGENTS: a-b is not a module; allowed: module names as in `import`, separated by commas",
    ]


def test_an_optional_number_out_of_range_is_named_with_its_value_and_what_is_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HOLDFAST_METRICS_PORT", "0")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(WorkerSettings)
    assert str(raised.value) == "HOLDFAST_METRICS_PORT is '0'; allowed: a whole number from 1 to 65,535"


@pytest.mark.parametrize("text", ["2026-12-01", "2026-12-01T00:00:00", "soon"])
def test_the_time_up_to_which_plain_values_are_opened_has_a_zone(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_PLAIN_UNTIL", text)
    with pytest.raises(SettingsInvalid, match="should be a time with its zone"):
        read_settings(CommonSettings)
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_PLAIN_UNTIL", "1970-01-01T01:00:01+01:00")
    assert read_settings(CommonSettings).plain_until_s == 1


def test_the_backlog_of_a_session_has_an_upper_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_SESSION_BACKLOG_LIMIT", "1001")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(CommonSettings)
    assert str(raised.value) == "HOLDFAST_SESSION_BACKLOG_LIMIT is '1001'; allowed: a whole number from 1 to 1,000"
