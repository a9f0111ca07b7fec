"""The version number of the data that processes write for each other (no JSON Schema: json_schema.py has that).

It covers log entries, session state, queue entries, job journals, and the messages between a worker and an isolated
attempt. Versions:

- 0: no version field, as first published.
- 1: recorded steps have marks, and a takeover resumes after them.
- 2: a job may name the job that it follows, which decides what its agent reads of the conversation.

A process reads all versions up to its own. During an upgrade, processes of two versions share the servers: the older
ones leave work of the newer version to the newer ones, see docs/operations.md.
"""

from __future__ import annotations

from holdfast.shared.errors import SchemaNewer

SCHEMA = 2  # also in scripts/session/prelude.lua

# Prefix of the error with which a script refuses a session; the session's version follows.
_REFUSAL = "HOLDFASTSCHEMA "


def check_schema(version: object, what: str) -> None:
    """Raise SchemaNewer where the version is newer than SCHEMA. `version`: a number or its digits; None is version
    0."""
    known = int(version) if isinstance(version, int | str | bytes) else 0
    if known > SCHEMA:
        raise SchemaNewer(what, known, SCHEMA)


def refused(error: Exception) -> Exception:
    """Convert a script's refusal of a newer session to SchemaNewer; return any other error unchanged."""
    name, _, version = str(error).partition(_REFUSAL)
    return error if name or not version else SchemaNewer("The session", int(version.split()[0]), SCHEMA)
