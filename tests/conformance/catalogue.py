"""Every check, in the order of the score card."""

from __future__ import annotations

from tests.conformance.checks import (
    cursors,
    ending,
    headers,
    refusals,
    resuming,
    slowness,
    stopping,
    takeover,
    trimming,
)
from tests.conformance.kit import Check

CHECKS: tuple[Check, ...] = (
    headers.content_type,
    headers.caching,
    headers.buffering,
    headers.pings,
    resuming.cut_at_bytes,
    resuming.cut_inside_a_frame,
    resuming.cut_after_every_event,
    resuming.from_every_event,
    resuming.cut_live,
    resuming.hop,
    resuming.join_late,
    resuming.agree,
    ending.closes,
    ending.stops_an_event_source,
    ending.resumes_after_the_end,
    stopping.leaving,
    stopping.cancel,
    stopping.cancel_again,
    cursors.malformed,
    cursors.beyond_the_end,
    slowness.slow_viewer,
    trimming.resumed_at_5000,
    trimming.resumed_at_50,
    takeover.goes_on,
    takeover.right_text,
    takeover.right_text_later,
    refusals.come_again,
)
