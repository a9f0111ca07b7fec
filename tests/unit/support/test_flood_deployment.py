"""How scripts/flood counts the wait of a job on a deployment."""

from __future__ import annotations

from tests.support.flood import Wait
from tests.support.flood_deployment import wait_of


def test_a_job_waited_for_the_slots_that_were_given_between_its_creation_and_its_start() -> None:
    assert wait_of(1000, 1300, [900, 1000, 1100, 1200, 1300, 1400]) == Wait(2, 300)
