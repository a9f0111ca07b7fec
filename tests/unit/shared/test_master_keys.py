"""Master keys as settings name them."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import pytest
from holdfast.shared.errors import SettingsInvalid
from holdfast.shared.master_keys import parse_master_keys
from holdfast.shared.settings import CommonSettings, read_settings

from tests.support.sealed import master_key, master_keys

KEY = b64encode(bytes(32)).decode()


def test_the_first_key_is_the_one_that_encrypts() -> None:
    assert list(parse_master_keys(master_keys("new", "old")).items()) == [
        ("new", master_key("new")),
        ("old", master_key("old")),
    ]


@pytest.mark.parametrize(
    "text", ["", ",", KEY, f":{KEY}", f"a b:{KEY}", "a:", "a:short", f"a:{KEY}x", f"a:{KEY[:-4]}", f"ä:{KEY}"]
)
def test_what_is_no_list_of_keys_is_refused_without_quoting_it(text: str) -> None:
    with pytest.raises(ValueError, match="should be `<key id>:<base64 of 32 random bytes>`") as raised:
        parse_master_keys(text)
    assert KEY[:-4] not in str(raised.value)


def test_an_id_names_one_key() -> None:
    with pytest.raises(ValueError, match="names the key a twice"):
        parse_master_keys(f"a:{KEY},a:{KEY}")


def test_encryption_is_off_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_settings(CommonSettings).master_keys == {}


def test_the_keys_come_from_the_variable_and_stay_out_of_the_repr(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_KEYS", f"a:{KEY}")
    settings = read_settings(CommonSettings)
    assert settings.master_keys == {"a": bytes(32)}
    assert KEY not in repr(settings)


def test_the_keys_come_from_a_file_one_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(master_keys("new", "old").replace(",", "\n") + "\n")
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_KEYS_FILE", str(file))
    assert list(read_settings(CommonSettings).master_keys) == ["new", "old"]


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("HOLDFAST_ENCRYPTION_KEYS", "a:nonsense", "HOLDFAST_ENCRYPTION_KEYS: should be `<key id>:"),
        (
            "HOLDFAST_ENCRYPTION_KEYS_FILE",
            "/nowhere",
            "HOLDFAST_ENCRYPTION_KEYS_FILE: the file cannot be read: No such",
        ),
    ],
)
def test_keys_that_cannot_be_used_stop_the_start_with_a_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, says: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsInvalid) as raised:
        read_settings(CommonSettings)
    assert str(raised.value).startswith(says)
    assert "nonsense" not in str(raised.value)


def test_only_one_of_the_two_settings_may_be_set(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_KEYS", f"a:{KEY}")
    monkeypatch.setenv("HOLDFAST_ENCRYPTION_KEYS_FILE", str(tmp_path))
    with pytest.raises(SettingsInvalid, match="should not be set together with HOLDFAST_ENCRYPTION_KEYS"):
        read_settings(CommonSettings)
