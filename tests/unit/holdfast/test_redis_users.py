"""`holdfast redis-users` keeps passwords, rotates them, and writes none of them into the access control list."""

from __future__ import annotations

import hashlib
import stat
from pathlib import Path

from holdfast.cli.redis_users import commands, write_users

NAMES = ("gateway", "worker", "operator")


def digest(file: Path) -> str:
    return "#" + hashlib.sha256(file.read_text().strip().encode()).hexdigest()


def users(folder: Path) -> dict[str, list[str]]:
    """The rules of each user in the list, by its name."""
    lines = (folder / "redis/users.acl").read_text().splitlines()
    return {line.split()[1]: line.split()[2:] for line in lines}


def test_each_user_gets_a_long_password_and_only_its_digest_is_in_the_list(tmp_path: Path) -> None:
    write_users(tmp_path / "new", rotate=False)
    passwords = {(tmp_path / "new" / name / "password").read_text().strip() for name in NAMES}
    assert len(passwords) == 3
    assert all(len(password) >= 43 for password in passwords)
    listed = (tmp_path / "new/redis/users.acl").read_text()
    assert not any(password in listed for password in passwords)
    for name in NAMES:
        assert users(tmp_path / "new")[name][:3] == ["reset", "on", digest(tmp_path / "new" / name / "password")]
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700


def test_nobody_may_do_anything_as_the_default_user(tmp_path: Path) -> None:
    write_users(tmp_path, rotate=False)
    assert users(tmp_path)["default"] == ["reset"]
    assert users(tmp_path).keys() == {"default", *NAMES}


def test_passwords_that_exist_are_kept(tmp_path: Path) -> None:
    write_users(tmp_path, rotate=False)
    before = {file: file.read_text() for file in tmp_path.rglob("*") if file.is_file()}
    write_users(tmp_path, rotate=False)
    assert {file: file.read_text() for file in tmp_path.rglob("*") if file.is_file()} == before


def test_a_rotated_password_stays_valid_until_the_next_rotation(tmp_path: Path) -> None:
    write_users(tmp_path, rotate=False)
    file = tmp_path / "worker/password"
    first = digest(file)
    write_users(tmp_path, rotate=True)
    second = digest(file)
    assert [rule for rule in users(tmp_path)["worker"] if rule.startswith("#")] == [second, first]
    write_users(tmp_path, rotate=True)
    assert [rule for rule in users(tmp_path)["worker"] if rule.startswith("#")] == [digest(file), second]


def test_the_commands_define_the_same_users_as_the_list(tmp_path: Path) -> None:
    write_users(tmp_path, rotate=False)
    given = {command.split()[2]: command.split()[3:] for command in commands(tmp_path)}
    assert given == {name: rules for name, rules in users(tmp_path).items() if name != "default"}
