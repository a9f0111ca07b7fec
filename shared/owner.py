"""Who owns a session: a tenant and, within it, a subject.

With authentication, the owner is part of a session's id everywhere behind the gateway's routes: in keys, scripts, the
queue and log lines a session is `<tenant>/<subject>/<session id>`, its *complete id*. What another caller requests is
another session, one that does not exist. Without authentication the complete id is the session id alone.
"""

from __future__ import annotations

import re
from typing import NamedTuple
from urllib.parse import quote, unquote

from holdfast.shared.errors import RequestInvalid

MAX_SUBJECT_BYTES = 255
_TENANT = re.compile(r"[A-Za-z0-9_.-]{1,64}")


class Owner(NamedTuple):
    """The owner of a session. `subject`: a user of the tenant; empty for what belongs to the tenant as a whole."""

    tenant: str
    subject: str = ""


def check_tenant(tenant: str) -> str:
    """Return the name of a tenant. Raises RequestInvalid unless it is 1 to 64 of `A-Z a-z 0-9 _ . -`."""
    if _TENANT.fullmatch(tenant) is None:
        raise RequestInvalid("tenant", "must be 1 to 64 letters, digits, `_`, `.` or `-`")
    return tenant


def check_subject(subject: str) -> str:
    """Return the name of a subject. Raises RequestInvalid unless it is at most 255 bytes of UTF-8."""
    try:
        size = len(subject.encode())
    except UnicodeEncodeError:
        size = MAX_SUBJECT_BYTES + 1
    if size > MAX_SUBJECT_BYTES:
        raise RequestInvalid("subject", f"must be at most {MAX_SUBJECT_BYTES} bytes of UTF-8")
    return subject


def complete_id(owner: Owner | None, session_id: str) -> str:
    """Return the complete id of a session. `owner`: None without authentication."""
    if owner is None:
        return session_id
    return f"{owner.tenant}/{quote(owner.subject, safe='')}/{session_id}"


def public_id(complete: str) -> str:
    """Return the session id that clients know."""
    return complete[complete.rfind("/") + 1 :]


def owner_of(complete: str) -> Owner | None:
    """Return the owner of a session by its complete id."""
    if "/" not in complete:
        return None
    tenant, subject, _ = complete.split("/")
    return Owner(tenant, unquote(subject))


def tenant_of(complete: str) -> str:
    """Return the tenant of a session by its complete id; empty without authentication."""
    tenant, separator, _ = complete.partition("/")
    return tenant if separator else ""
