"""The fields of a job's record, as the scripts, the reads and the API name them."""

from __future__ import annotations

import re
from importlib.resources import files

from holdfast.gateway.routes.schemas import JobAnswer, job_json
from holdfast.shared.ids import ORIGIN
from holdfast.shared.job_record import FIELDS, HEADLINE, RECORD, SUMMARY, job_of

SCRIPTS = {
    f"{family}/{file.name}": file.read_text("utf-8")
    for family in ("queue", "session")
    for file in (files("holdfast.shared.scripts") / family).iterdir()
}


CALL = re.compile(r"job_([gs]et)\(((?:[^()]|\([^()]*\))*)\)")


def named(text: str) -> set[str]:
    """Return the fields that a script reads or writes by name."""
    found = set(re.findall(r"job \.\. ':(\w+)'", text))
    for verb, arguments in CALL.findall(text.replace("()", "")):
        names = re.split(r",\s*", re.sub(r"\([^()]*\)", "", arguments))[1 :: 1 if verb == "get" else 2]
        found |= {name.strip("'") for name in names if re.fullmatch(r"'\w+'", name)}
    return found


def test_the_scripts_name_no_field_but_those_that_are_listed() -> None:
    for name, text in SCRIPTS.items():
        assert named(text) <= set(FIELDS), name


def test_each_field_that_is_listed_is_named_by_a_script() -> None:
    assert set(FIELDS) == set().union(*map(named, SCRIPTS.values()))
    assert len(FIELDS) == len(set(FIELDS))


def test_each_read_names_a_prefix_of_the_next_one() -> None:
    assert RECORD[: len(SUMMARY)] == SUMMARY
    assert SUMMARY[: len(HEADLINE)] == HEADLINE
    assert set(RECORD) <= set(FIELDS)


def test_the_api_shows_the_fields_that_its_model_declares() -> None:
    job = job_of("s", [b"j1", None, b"scripted", b"queued"], ORIGIN)
    assert set(job_json(job)) == set(JobAnswer.model_fields)
