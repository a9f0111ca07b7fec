from __future__ import annotations

import pytest

from bench.ledger import InvalidRun, Verdict

CLEAN = {"lost": 0, "doubled": 0, "disordered": 0, "closed": 0, "refused": 0}


def test_a_run_in_which_each_event_came_once_counts() -> None:
    Verdict(**CLEAN).check()


@pytest.mark.parametrize("fault", ["lost", "doubled", "disordered", "closed", "refused", "behind"])
def test_a_run_with_one_fault_of_any_kind_is_void(fault: str) -> None:
    with pytest.raises(InvalidRun, match=r"^1 "):
        Verdict(**(CLEAN | {fault: 1})).check()
