"""Which refusals pass by themselves, as the server words them."""

from __future__ import annotations

import pytest
from holdfast.shared.redis.errors import ConnectionLost, PipelineFull, RedisError, RedisTimeoutError, is_lasting
from redis.asyncio.connection import DefaultParser

PASSING = [
    "LOADING Redis is loading the dataset in memory",
    "BUSY Redis is busy running a script. You can only call SCRIPT KILL or SHUTDOWN NOSAVE.",
    "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
    "MISCONF Redis is configured to save RDB snapshots, but it's currently unable to persist to disk.",
    "NOREPLICAS Not enough good replicas to write.",
    "READONLY You can't write against a read only replica.",
    "OOM command not allowed when used memory > 'maxmemory'.",
    "CLUSTERDOWN The cluster is down",
    "TRYAGAIN Multiple keys request during rehashing of slot",
    "NOSCRIPT No matching script. Please use EVAL.",
    "EXECABORT Transaction discarded because of previous errors.",
    "ERR max number of clients reached",
    "NOAUTH Authentication required.",
    "WRONGPASS invalid username-password pair or user is disabled.",
    "MISCONF Errors writing to the AOF file script: on @user_script:2.",
    "OOM command not allowed when used memory > 'maxmemory'. script: on @user_script:2.",
    "upstream failure",  # of a proxy, as are the following
    "no upstream host",
    "ERR Connection refused",
]
LASTING = [
    "WRONGTYPE Operation against a key holding the wrong kind of value script: on @user_script:2.",
    "NOPERM User u has no permissions to run the 'xadd' command",
    "NOPERM No permissions to access a key",
    "ERR ACL failure in script: User u has no permissions to run the 'xadd' command script: on @user_script:2.",
    "ERR unknown command 'XADD', with args beginning with: ",
    "ERR wrong number of arguments for 'xadd' command",
    "ERR Error running script (call to f_0): @user_script:2: attempt to index a nil value",
    "ERR The ID specified in XADD is equal or smaller than the target stream top item script: on @user_script:2.",
    "MOVED 3999 127.0.0.1:6381",
    "CROSSSLOT Keys in request don't hash to the same slot",
    "ERR user_script:2: attempt to index a nil value script: on @user_script:2.",
]


def parsed(text: str) -> RedisError:
    error: RedisError = DefaultParser.parse_error(text)  # type: ignore[no-untyped-call]
    return error


@pytest.mark.parametrize("text", PASSING)
def test_a_refusal_that_passes_is_waited_for(text: str) -> None:
    assert not is_lasting(parsed(text))


@pytest.mark.parametrize("text", LASTING)
def test_a_refusal_that_lasts_until_an_operator_acts_is_not_waited_for(text: str) -> None:
    assert is_lasting(parsed(text))


@pytest.mark.parametrize("error", [ConnectionLost("closed"), PipelineFull(), RedisTimeoutError()])
def test_the_failure_of_a_connection_passes(error: RedisError) -> None:
    assert not is_lasting(error)
