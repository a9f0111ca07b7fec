"""Addresses of Redis are completed with the password of a file and with the checks of TLS."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.redis.address import cluster_address, complete_url, sentinel_address
from holdfast.shared.redis.client import check_url
from holdfast.shared.settings import CommonSettings, read_settings
from redis.asyncio.connection import parse_url

from tests.support.tls import Authority


def parsed(url: str) -> dict[str, Any]:
    return dict(parse_url(url))


@pytest.fixture
def password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The password in the file that the settings name."""
    (tmp_path / "password").write_text("p/a@s:s%\nsecond line\n")
    monkeypatch.setenv("HOLDFAST_REDIS_PASSWORD_FILE", str(tmp_path / "password"))
    return "p/a@s:s%"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("redis://gateway@queue:6380/1", "queue"),
        ("rediss://gateway@queue:6380/1", "queue"),
        ("redis://gateway@[::1]:6380/1", "::1"),
    ],
)
def test_a_user_without_a_password_gets_that_of_the_file(
    monkeypatch: pytest.MonkeyPatch, password: str, url: str, host: str
) -> None:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", url)
    settings = read_settings(CommonSettings)
    assert settings.log_url == settings.redis_url
    parts = parse_url(settings.redis_url)
    assert (parts["username"], parts["password"]) == ("gateway", password)
    assert (parts["host"], parts["port"], parts["db"]) == (host, 6380, 1)
    assert "p/a" not in repr(settings)
    assert "p%2Fa" not in repr(settings)


@pytest.mark.parametrize(
    "url", ["redis://queue:6380/1", "redis://:own@queue/0", "redis://gateway:own@queue/0", "unix:///a/b?db=1"]
)
def test_an_address_without_a_user_or_with_a_password_stays_as_it_is(
    monkeypatch: pytest.MonkeyPatch, password: str, url: str
) -> None:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", url)
    assert read_settings(CommonSettings).redis_url == url


@pytest.mark.parametrize("content", [None, "", "\n", b"\xff\xfe"])
def test_a_file_without_a_password_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | bytes | None
) -> None:
    file = tmp_path / "password"
    if content is not None:
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    monkeypatch.setenv("HOLDFAST_REDIS_PASSWORD_FILE", str(file))
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis://gateway@queue")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(CommonSettings)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"HOLDFAST_REDIS_PASSWORD_FILE: {file} ")


def test_the_host_name_is_checked_unless_the_address_says_otherwise() -> None:
    assert parsed(complete_url("rediss://queue:6379/0", None, None))["ssl_check_hostname"] is True
    assert parsed(complete_url("rediss://queue?ssl_check_hostname=false", None, None))["ssl_check_hostname"] is False
    assert "ssl_check_hostname" not in parsed(complete_url("rediss://queue?ssl_cert_reqs=none", None, None))


def test_a_file_of_authorities_applies_to_all_addresses_and_each_needs_tls(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ca = str(Authority(tmp_path).file)
    monkeypatch.setenv("HOLDFAST_REDIS_CA", ca)
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "rediss://queue")
    monkeypatch.setenv("HOLDFAST_LOG_REDIS_URL", "rediss://log?ssl_ca_certs=/other.pem")
    settings = read_settings(CommonSettings)
    assert parsed(settings.redis_url)["ssl_ca_certs"] == ca
    assert parsed(settings.log_url)["ssl_ca_certs"] == "/other.pem"
    monkeypatch.setenv("HOLDFAST_LOG_REDIS_URL", "redis://user:secret@log")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(CommonSettings)
    assert str(raised.value) == (
        "HOLDFAST_LOG_REDIS_URL: should be rediss://host:6379/0, since HOLDFAST_REDIS_CA is set"
    )
    monkeypatch.delenv("HOLDFAST_REDIS_URL")  # the default is without TLS too
    with pytest.raises(SettingsInvalid, match=r"HOLDFAST_REDIS_URL: should be rediss://"):
        read_settings(CommonSettings)


@pytest.mark.parametrize("content", [None, "no certificate"])
def test_a_file_without_certificates_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "ca.pem"
    if content is not None:
        file.write_text(content)
    monkeypatch.setenv("HOLDFAST_REDIS_CA", str(file))
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(CommonSettings)
    (line,) = str(raised.value).splitlines()
    assert line.startswith(f"HOLDFAST_REDIS_CA: {file} has no certificate in PEM: ")


SENTINELS = "redis+sentinel://gateway@s1:26379,s2,[::1]:26380/main"


def test_an_address_of_sentinels_names_each_of_them_and_the_primary() -> None:
    address = sentinel_address(f"{SENTINELS}/2")
    assert address is not None
    assert address.sentinels == ("redis://s1:26379/0", "redis://s2:26379/0", "redis://[::1]:26380/0")
    assert address.name == "main"
    assert address.at("10.0.0.1:6379") == "redis://gateway@10.0.0.1:6379/2"
    assert sentinel_address("redis://host:6379/0") is None


def test_an_address_of_sentinels_is_completed_as_that_of_a_server(
    monkeypatch: pytest.MonkeyPatch, password: str, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    monkeypatch.setenv("HOLDFAST_REDIS_URL", SENTINELS.replace("redis+", "rediss+"))
    monkeypatch.setenv("HOLDFAST_REDIS_CA", str(authority.file))
    address = sentinel_address(read_settings(CommonSettings).redis_url)
    assert address is not None
    parts = parsed(address.at("db:6379"))
    assert (parts["username"], parts["password"], parts["ssl_ca_certs"]) == ("gateway", password, str(authority.file))
    assert parsed(address.sentinels[0])["ssl_ca_certs"] == str(authority.file)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://s1:26379",
        "redis+sentinel:///main",
        "redis+sentinel://s1,,s2/main",
        "redis+sentinel://s1:x/main",
        "redis+sentinel://s1/main/x",
        "unix+sentinel://s1/main",
    ],
)
def test_an_address_of_sentinels_without_a_part_is_refused(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("HOLDFAST_REDIS_URL", url)
    with pytest.raises(SettingsInvalid, match="HOLDFAST_REDIS_URL: should be redis://host:6379/0"):
        read_settings(CommonSettings)


def test_the_address_of_a_cluster_names_nodes_and_how_to_reach_each() -> None:
    cluster = cluster_address("rediss+cluster://gateway:p%2F@n1:7000,n2,[::1]:7002?ssl_cert_reqs=none")
    assert cluster is not None
    assert cluster.seeds == ("n1:7000", "n2:6379", "[::1]:7002")
    assert cluster.at("n9:7009") == "rediss://gateway:p%2F@n9:7009/0?ssl_cert_reqs=none"
    assert cluster_address("redis://n1:6379/0") is None


@pytest.mark.parametrize("url", ["redis+cluster://", "redis+cluster://a,,b", "redis+cluster://a/1", "unix+cluster://a"])
def test_an_invalid_address_of_a_cluster_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="redis"):
        check_url(url)


def test_only_the_logs_may_be_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_LOG_REDIS_URL", "redis+cluster://a,b")
    assert read_settings(CommonSettings).log_url == "redis+cluster://a,b"
    monkeypatch.setenv("HOLDFAST_REDIS_URL", "redis+cluster://a,b")
    with pytest.raises(SettingsInvalid, match="HOLDFAST_REDIS_URL"):
        read_settings(CommonSettings)


def test_a_password_and_an_authority_complete_the_address_of_a_cluster() -> None:
    url = complete_url("rediss+cluster://gateway@a,b", "p/a", "/ca.pem")
    cluster = cluster_address(url)
    assert cluster is not None
    assert parsed(cluster.at("b:6379"))["password"] == "p/a"
    assert parsed(cluster.at("b:6379"))["ssl_ca_certs"] == "/ca.pem"
