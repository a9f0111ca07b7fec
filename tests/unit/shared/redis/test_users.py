"""The Redis users have the rights that their processes' scripts need, as the scripts' sources say."""

from __future__ import annotations

from fnmatch import fnmatchcase

import pytest
from holdfast.shared import keys
from holdfast.shared.redis.rights import ARGUMENTS, probes
from holdfast.shared.redis.users import GATEWAY, USERS, WORKER, Right, User

from tests.support.script_rights import names, needs

BY_GATEWAYS = {
    "session": {"submit", "first", "cancel", "delete", "answer"}
    | {"read_session", "read_summary", "read_job", "read_jobs", "read_messages"},
    "queue": {"reserve", "ready", "discard", "notify", "forget", "count_jobs"},
}
ONLY_BY_GATEWAYS = {
    "session": BY_GATEWAYS["session"],
    "queue": BY_GATEWAYS["queue"] - {"ready"},
}
# Of functions of the prelude that gateways use for entries without a tenant in other ways only.
NOT_BY_GATEWAYS = {("exists", (f"{keys.READY}*",))}
CALLS = [
    *((GATEWAY, family, name) for family, name in names() if name in BY_GATEWAYS[family]),
    *((WORKER, family, name) for family, name in names() if name not in ONLY_BY_GATEWAYS[family]),
]


def allows(right: Right, command: str, keys: tuple[str, ...]) -> bool:
    examples = [key.replace("*", "x") for key in keys]
    return command in right.commands.split() and all(
        any(fnmatchcase(key, pattern) for pattern in right.keys) for key in examples
    )


@pytest.mark.parametrize(("user", "family", "name"), CALLS, ids=[f"{u.name}-{f}-{n}" for u, f, n in CALLS])
def test_a_user_may_run_each_command_of_its_scripts(user: User, family: str, name: str) -> None:
    rights = (*user.every, *user.log, *user.queue)
    needed = needs(family, name) - (NOT_BY_GATEWAYS if user is GATEWAY else set())
    missing = [need for need in needed if not any(allows(right, *need) for right in rights)]
    assert missing == [], "add these to shared/redis/users.py, unless another process runs the script"


def test_the_commands_of_a_script_are_found_with_those_of_its_prelude_and_their_keys() -> None:
    assert ("xsetid", ("holdfast:{*}:log",)) in needs("session", "release")
    assert ("xadd", ("holdfast:{*}:log",)) in needs("session", "append")
    assert ("sadd", ("holdfast:queue:leased:*",)) in needs("queue", "take")
    assert ("lpush", ("holdfast:queue:mailbox:*",)) in needs("queue", "notify")
    assert ("expire", ("holdfast:{*}:messages",)) in needs("session", "finish")


@pytest.mark.parametrize("user", USERS, ids=[user.name for user in USERS])
def test_every_right_can_be_probed(user: User) -> None:
    for name, pattern, call in probes((*user.every, *user.log, *user.queue)):
        assert pattern.replace("*", "rights") in [*call, ""], f"{name} has no place for its key in ARGUMENTS"


def test_the_arguments_of_no_forgotten_command_are_kept() -> None:
    rights = [right for user in USERS for right in (*user.every, *user.log, *user.queue)]
    used = {name for right in rights for name in right.commands.split()}
    assert ARGUMENTS.keys() - used == set()
