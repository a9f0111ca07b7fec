"""`holdfast redis-users`: passwords and access control lists of the Redis users."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path

from holdfast.shared.redis.users import USERS, user_rules

PASSWORD_BYTES = 32
ACL_FILE = Path("redis", "users.acl")


def write_users(folder: Path, *, rotate: bool) -> None:
    """Create the passwords that are missing, and write the access control list, in `folder`.

    A password is in `<user>/password`, and with `rotate` in `<user>/previous` while a new one takes its place; both are
    valid. The list in `redis/users.acl` has only digests of them, so any user may read it. Each subfolder can be a
    volume of its own, so that a container sees no other password than its own."""
    acl = folder / ACL_FILE
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for user in USERS:
        place = folder / user.name
        place.mkdir(exist_ok=True)
        password = place / "password"
        if rotate and password.exists():
            password.replace(place / "previous")
        if not password.exists():
            _write(password, secrets.token_urlsafe(PASSWORD_BYTES) + "\n")
    acl.parent.mkdir(exist_ok=True)
    lines = (f"user {rules}\n" for rules in _rules(folder))
    _write(acl, "user default reset\n" + "".join(lines))


def commands(folder: Path) -> Iterator[str]:
    """Yield an ACL SETUSER command for each user, for a server whose access control list is no file."""
    yield from (f"ACL SETUSER {rules}" for rules in _rules(folder))


def _rules(folder: Path) -> Iterator[str]:
    for user in USERS:
        files = (folder / user.name / "password", folder / user.name / "previous")
        yield user_rules(user, [file.read_text("utf-8").strip() for file in files if file.exists()])


def _write(file: Path, text: str) -> None:
    """Replace a file as a whole, so that nobody reads half of it."""
    new = file.with_name(file.name + ".new")
    new.write_text(text, "utf-8")
    new.chmod(0o444)
    new.replace(file)
