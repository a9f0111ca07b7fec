"""Which commands each Lua script calls on which keys, read from its source."""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.resources import files

from holdfast.shared import keys, scripts
from holdfast.shared.keys import PREFIX, session_keys
from holdfast.shared.queue import PLACES

FAMILIES = {"session": session_keys("*"), "queue": PLACES}
# What the local variables of scripts may be.
_LOCALS = {
    "own": (keys.SESSIONS,),
    "key": (keys.READY + "*", keys.TENANT + "ready:*"),
    "ready_key": (keys.READY + "*", keys.TENANT + "ready:*"),
    "prefix": (keys.READY + "*", keys.TENANT + "turns:*"),
    "turns": (keys.TENANT + "turns:*",),
}
_FUNCTION = re.compile(r"^local function (\w+)\(.*?^end$", re.MULTILINE | re.DOTALL)
_CALL = re.compile(r"(?:redis\.p?call|tolerant)\('([A-Z]+)'(?:, ([^()]+))?")
_ALIAS = re.compile(r"^local (\w+) = ([A-Z]+) \.\.", re.MULTILINE)
_NAMES = re.compile(r"^local ([A-Z][A-Z_, ]+?) = (unpack\(KEYS\)|KEYS\[(\d+)\])", re.MULTILINE)

Need = tuple[str, tuple[str, ...]]


def names() -> Iterator[tuple[str, str]]:
    """Every script: its family and its name."""
    for family in FAMILIES:
        found = (files(scripts) / family).iterdir()
        yield from sorted((family, file.name[:-4]) for file in found if file.name not in {"prelude.lua", "__init__.py"})


def needs(family: str, name: str) -> set[Need]:
    """The commands of a script and of the functions of its prelude that it uses, each with the patterns of its keys."""
    prelude = "" if (family, name) == ("session", "append") else _source(family, "prelude")
    own = _source(family, name)
    functions = {match[1]: match[0] for match in _FUNCTION.finditer(prelude)}
    used: dict[str, str] = {}
    texts = [own]
    while texts:
        text = texts.pop()
        for function, body in functions.items():
            if function not in used and re.search(rf"\b{function}\(", text):
                used[function] = body
                texts.append(body)
    places = _places(family, prelude + "\n" + own)
    aliases = {alias: places[key] for alias, key in _ALIAS.findall(own) if key in places}
    return {need for text in (own, *used.values()) for need in _calls(text, places | aliases, FAMILIES[family])}


def _source(family: str, name: str) -> str:
    text = (files(scripts) / family / f"{name}.lua").read_text("utf-8")
    return re.sub(r"--.*", "", text)


def _places(family: str, text: str) -> dict[str, str]:
    """The patterns of the keys by the names that the source gives them. A prefix is completed by the script."""
    places = {}
    for declared, _, first in _NAMES.findall(text):
        begin = int(first or 1) - 1
        for at, name in enumerate(declared.split(", ")):
            if begin + at < len(FAMILIES[family]):
                key = FAMILIES[family][begin + at]
                places[name] = key + "*" if key.endswith(":") else key
    if "LOG, STATE" in text and "LOG" not in places:  # append.lua: KEYS[1], KEYS[2] among other values
        places |= {"LOG": FAMILIES[family][0], "STATE": FAMILIES[family][1]}
    return places


def _calls(text: str, places: dict[str, str], all_keys: tuple[str, ...]) -> Iterator[Need]:
    for command, arguments in _CALL.findall(text):
        if command == "TIME":
            yield "time", ()
        elif "KEYS[i]" in arguments:
            yield from ((command.lower(), (key,)) for key in all_keys)
        else:
            words = re.findall(r"\w+", arguments)
            local = next((_LOCALS[word] for word in words[:1] if word in _LOCALS), ())
            yield from ((command.lower(), (key,)) for key in local)
            found = [places[word] for word in words if word in places]
            assert found or local, f"the key of {command} {arguments!r} is not known: {PREFIX}…"
            if local:
                continue
            several = command in {"DEL", "MGET", "EXISTS"}
            yield command.lower(), tuple(found) if several else (found[0],)
