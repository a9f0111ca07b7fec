"""The version of what processes write for each other.

That is: entries of a log, the state of a session, entries of the queue, the journal of a job, and the lines between a
worker and an isolated attempt. Versions:

- 0: without a version, as first published.
- 1: recorded steps have marks, and a takeover resumes behind them.

A process reads all versions up to its own. During an upgrade, processes of two versions share the servers: the older
ones leave work of the newer version to the newer ones, see docs/operations.md.
"""

from __future__ import annotations

from holdfast.shared.errors import SchemaNewer

SCHEMA = 1  # also in scripts/session.lua

# How a script refuses a session; the session's version follows.
_REFUSAL = "HOLDFASTSCHEMA "


def check_schema(version: object, what: str) -> None:
    """Raise SchemaNewer where something was written in a version that this process does not know. `version` is a number
    or its digits; None is version 0."""
    known = int(version) if isinstance(version, int | str | bytes) else 0
    if known > SCHEMA:
        raise SchemaNewer(what, known, SCHEMA)


def refused(error: Exception) -> Exception:
    """The error of a script as SchemaNewer where it is that, else as it is."""
    name, _, version = str(error).partition(_REFUSAL)
    return error if name or not version else SchemaNewer("The session", int(version.split()[0]), SCHEMA)
