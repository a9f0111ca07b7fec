"""Redact secrets from log lines and error messages: values of environment variables with names like secrets, passwords
in URLs of the environment, and in error messages strings that look like keys."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterable, Mapping
from urllib.parse import urlsplit

# Shorter values are placeholders such as `test`, which occur in normal text.
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
    """Return the secret values of an environment, the longest first, since one may contain another."""
    named = set(_NAMED_BY_MODELS.findall(environment.get("HOLDFAST_MODELS", "")))
    values = [value for name, value in environment.items() if name in named or _SECRET_NAME.search(name)]
    passwords = [_password(value) for value in environment.values() if "://" in value]
    found = {value.strip() for value in values + passwords}
    return sorted((value for value in found if len(value) >= MIN_SECRET_CHARS), key=len, reverse=True)


def without_secrets(text: str) -> str:
    """Redact the secrets of this process's environment."""
    for secret in secrets(os.environ):
        text = text.replace(secret, _REMOVED)
    return text


def without_keys(text: str, keys: Iterable[str] = (), *, opaque: bool = True) -> str:
    """Redact the secrets of the environment, these keys as whole words, and strings that look like keys.

    `opaque`: redact 32 and more letters and digits in a row too, which may also be an id. Linear in the text."""
    text = without_secrets(text)
    for key in keys:
        text = re.sub(rf"(?<!\w){re.escape(key)}(?!\w)", _REMOVED, text)
    return (_PERHAPS_A_KEY if opaque else _LIKE_A_KEY).sub(_REMOVED, text)


def keep_out_of_log_lines() -> None:
    """Redact secrets from all log lines of the process, tracebacks included."""
    for handler in logging.getLogger().handlers:
        handler.setFormatter(_Discreet(handler.formatter or logging.Formatter()))


class _Discreet(logging.Formatter):
    """Redacts the lines of another formatter."""

    def __init__(self, inner: logging.Formatter) -> None:
        super().__init__()
        self._inner = inner

    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(self._inner.format(record))


def _password(url: str) -> str:
    """Return the password in a URL as written, or an empty string."""
    try:
        return urlsplit(url).password or ""
    except ValueError:
        return ""
