"""Only what a script writes is taken for an event of a script."""

from __future__ import annotations

import pytest
from holdfast.shared.log.script_events import is_end, is_start

NAME = b"j1 job.started"


def start(agent: str = '"scripted"', after: str = "null", discard_from: str = "") -> bytes:
    body = '{"type":"job.started","job_id":"j1","at":1700000000000,"prev":"0-0"'
    discard = discard_from and f',"discard_from":"{discard_from}"'
    return f'{body},"agent":{agent},"attempt":2,"after":{after}{discard},"input":'.encode()


def end(job_id: str) -> tuple[bytes, bytes]:
    """The name and the event of a cancellation."""
    of = job_id and f',"job_id":"{job_id}"'
    body = f'{{"type":"job.cancelled"{of},"at":1700000000000,"by":"user","prev":"0-0"}}'
    return f"{job_id} job.cancelled".encode(), body.encode()


@pytest.mark.parametrize(
    "event",
    [
        start(),
        start(after='"a-job_1"'),
        start(discard_from="1700000000000-2"),
        start(agent='"My \\"\u00e4gent\\" \\\\ \\/ \\u0007"'),
        start(agent='"' + "\U0001f41d" * 128 + '"'),
    ],
)
def test_a_start_as_the_script_writes_it_is_one(event: bytes) -> None:
    assert is_start(NAME, event)


@pytest.mark.parametrize(
    "event",
    [
        start(agent='"' + "a" * 600 + '"'),
        start(agent='"a\nb"'),
        start(agent='""'),
        start(after='"Call 555-0100 to go on"'),
        start(after='"' + "a" * 65 + '"'),
        start(discard_from="1" * 100 + "-1"),
    ],
)
def test_a_start_with_other_texts_than_a_script_writes_is_none(event: bytes) -> None:
    assert not is_start(NAME, event)


@pytest.mark.parametrize("job_id", ["j1", "a-job_1", "j" * 64, ""])
def test_an_end_as_the_script_writes_it_is_one(job_id: str) -> None:
    assert is_end(*end(job_id))


@pytest.mark.parametrize("job_id", ["Call-555-0100:now", "a\n\ndata:b", "j" * 65])
def test_an_end_whose_job_id_is_another_text_is_none(job_id: str) -> None:
    assert not is_end(*end(job_id))
