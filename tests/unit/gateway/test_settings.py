"""The gateway's settings: what is refused at the start, in words that help."""

from __future__ import annotations

import pytest
from holdfast.gateway.settings import GatewaySettings
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.settings import read_settings


@pytest.mark.parametrize(
    "origin",
    [
        "*",
        "null",
        "app.example",
        "https://app.example/",
        "https://app.example/x",
        "https://*.example",
        "https://a:port",
    ],
)
def test_what_is_no_exact_origin_is_quoted_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch, origin: str) -> None:
    monkeypatch.setenv("HOLDFAST_CORS_ORIGINS", f"https://good.example,{origin}")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(GatewaySettings)
    assert f"HOLDFAST_CORS_ORIGINS: '{origin}' is not an origin" in str(raised.value)
    assert "https://chat.example.com" in str(raised.value)


def test_origins_are_read_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch) -> None:
    text = " https://App.Example:443,http://localhost:3000 , http://a:80,https://b:80,http://[::1]:1,capacitor://localhost,"
    monkeypatch.setenv("HOLDFAST_CORS_ORIGINS", text)
    assert read_settings(GatewaySettings).origins == {
        *(b"https://app.example", b"http://localhost:3000", b"http://a", b"https://b:80", b"http://[::1]:1"),
        b"capacitor://localhost",
    }


@pytest.mark.parametrize(
    "host",
    ["https://chat.example.com", "chat.example.com/", "a b", "*.10.0.0.5", "*x", "[::1", "a:port", "*.*.example"],
)
def test_what_is_no_host_is_quoted_with_what_is_allowed(monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    monkeypatch.setenv("HOLDFAST_ALLOWED_HOSTS", f"good.example,{host}")
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(GatewaySettings)
    assert f"HOLDFAST_ALLOWED_HOSTS: '{host}' is not a host" in str(raised.value)
    assert "*.example.com" in str(raised.value)
