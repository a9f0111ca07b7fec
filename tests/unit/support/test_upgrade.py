"""What scripts/upgrade counts."""

from __future__ import annotations

from holdfast.shared.ids import ORIGIN, EventId

from tests.support.history import Told, Transcript
from tests.support.upgrade import Findings

EVENTS = [Told(EventId(1, seq), str(seq), "text.delta", "j", ORIGIN) for seq in range(1, 5)]


def transcript(*events: Told) -> Transcript:
    return Transcript("s", "viewer", steps=list(events))


def test_what_a_viewer_lacks_or_has_twice_is_counted() -> None:
    findings = Findings()
    first, second, third, fourth = EVENTS
    findings.compare(transcript(first, second, third, fourth), EVENTS)
    assert (findings.lost, findings.doubled, findings.clean) == (0, 0, True)
    findings.compare(transcript(first, second, second, fourth), EVENTS)
    assert (findings.lost, findings.doubled, findings.clean) == (1, 1, False)


def test_a_scenario_that_failed_is_not_clean() -> None:
    findings = Findings(failed=["a gateway ended with 1 after SIGTERM"])
    assert not findings.clean
    assert findings.lines("rolling upgrade")[-1].strip() == findings.failed[0]
