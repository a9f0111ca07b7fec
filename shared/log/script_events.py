"""Recognize the events that scripts write, which cannot encrypt: starts, and ends without content. Pure.

With encryption no other event is plain. Each of these has exactly the form that its script gives it, with known words
and ids; only the name of a start's agent is any text. Anything else in its place was written by another program.
"""

from __future__ import annotations

import re

from holdfast.shared.log.endings import ENDINGS
from holdfast.shared.log.events import encode

_CANCELLED_BY = ("user", "interrupt", "superseded", "deleted")

_JOB_ID = rb"[A-Za-z0-9_-]{1,64}"
_ID = rb'"\d{1,20}-\d{1,20}"'
_AT = rb',"at":\d{1,16}'
_PREV = rb',"prev":' + _ID + rb'(?:,"log_lost":true)?'
_AGENT = rb'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-f]{4}){1,512}"'  # 128 characters of at most 4 bytes
_DETAIL = b"|".join(
    [
        *(re.escape(b',"by":' + encode(by)) for by in _CANCELLED_BY),
        *(re.escape(b',"error":' + encode(error)) for error in ENDINGS.values()),
    ]
)
# The name of an entry's field is the job's id, which may be empty, and the type: both again in the event.
_JOB = rb'(?:,"job_id":"(?P<job>' + _JOB_ID + rb')")?'
_END = re.compile(
    rb'\{"type":"(?P<kind>job\.cancelled|job\.failed|session\.deleted)"'
    + (_JOB + _AT + b"(?:" + _PREV + b")?(?:" + _DETAIL + b")?(?:" + _PREV + rb")?\}")
)
_AFTER = rb'(?:,"after":(?:null|"' + _JOB_ID + rb'"))?'
_DISCARD = rb'(?:,"discard_from":' + _ID + rb")?"
_START = re.compile(
    rb'\{"type":"(?P<kind>job\.started)"'
    + (_JOB + _AT + _PREV + b',"agent":' + _AGENT + rb',"attempt":\d{1,10}' + _AFTER + _DISCARD + b',"input":')
)


def is_end(name: bytes, event: bytes) -> bool:
    """Return whether this is an end without content in the entry's field `name`."""
    return _is(_END, name, event)


def is_start(name: bytes, event: bytes) -> bool:
    """Return whether this is the beginning of a start, up to the job's input, in the entry's field `name`."""
    return _is(_START, name, event)


def _is(form: re.Pattern[bytes], name: bytes, event: bytes) -> bool:
    found = form.fullmatch(event)
    return found is not None and (found["job"] or b"") + b" " + found["kind"] == name
