"""Keys taken out of texts that others will read. What counts as one: the values of variables that are named like
secrets, the passwords in URLs among the variables, and in errors whatever looks like a key."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

# Shorter values are no secrets but placeholders such as `test`, which stand in many a text.
MIN_SECRET_CHARS = 8

_REMOVED = "[removed]"
_SECRET_NAME = re.compile(r"(?i)(?:KEY|TOKEN|SECRET|PASSWORD|PASSWD|PASSPHRASE|CREDENTIALS?|AUTH)$")
_NAMED_BY_MODELS = re.compile(r"#\s*(\w+)")
_PREFIXED = r"""
    (?i:\b(?:bearer|basic)\s+\S+)
    | \b(?:sk|pk|rk|gsk|xai|hf|api|key)[-_][\w*.\-]{6,}    # prefixed, as most providers' keys are
    | \bAIza[\w\-]{10,}
    | (?<=://)[^\s/@]+(?=@)                                # credentials in a URL
    | (?<![\w\-])[\w\-]*\*{3,}[\w\-]*                     # masked by the provider
"""
_OPAQUE = r"| \b(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{32,}\b"
_LIKE_A_KEY = re.compile(_PREFIXED, re.VERBOSE)
_PERHAPS_A_KEY = re.compile(_PREFIXED + _OPAQUE, re.VERBOSE)


def secrets(environment: Mapping[str, str]) -> list[str]:
    """The values in an environment that nobody may read, the longest first: one may hold another."""
    named = set(_NAMED_BY_MODELS.findall(environment.get("HOLDFAST_MODELS", "")))
    values = [value for name, value in environment.items() if name in named or _SECRET_NAME.search(name)]
    passwords = [_password(value) for value in environment.values() if "://" in value]
    found = {value.strip() for value in values + passwords}
    return sorted((value for value in found if len(value) >= MIN_SECRET_CHARS), key=len, reverse=True)


def without_secrets(text: str) -> str:
    """The text without the secrets of this process's environment."""
    for secret in secrets(os.environ):
        text = text.replace(secret, _REMOVED)
    return text


def without_keys(text: str, keys: Iterable[str] = (), *, opaque: bool = True) -> str:
    """The text without the secrets of the environment, these keys where they stand alone, and whatever looks like a
    key. `opaque`: 32 letters and digits in a row do, which an id may be as well. Takes time in line with the text."""
    text = without_secrets(text)
    for key in keys:
        text = re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", _REMOVED, text)
    return (_PERHAPS_A_KEY if opaque else _LIKE_A_KEY).sub(_REMOVED, text)


def keep_out_of_log_lines() -> None:
    """From now on no line of the process's log has a secret in it, tracebacks included."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Discreet(handler.formatter or logging.Formatter()))


class _Discreet(logging.Formatter):
    """Another formatter's lines, without the secrets."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(self._inner.format(record))


def _password(url: str) -> str:
    """The password in a URL, as it is written there; nothing where there is none."""
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""
