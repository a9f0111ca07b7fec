"""All peers that are measured, the product first."""

from __future__ import annotations

from bench.peers import bare, bare_redis, completions, holdfast, naive, nchan, raw, resumable_stream, sse_starlette

ALL_PEERS = (
    holdfast.PEER,
    holdfast.AUTHENTICATED,
    holdfast.WEBSOCKET,
    naive.PEER,
    naive.TUNED,
    sse_starlette.PEER,
    nchan.PEER,
    nchan.WITH_REDIS,
    resumable_stream.PEER,
    bare.PEER,
    raw.PEER,
    raw.COALESCING,
)
WITH_HISTORY = tuple(peer for peer in ALL_PEERS if peer.history)
DIALECTS = (*holdfast.DIALECTS, completions.PEER)
FLOOR = bare_redis.PEER  # beside those figures that do not hold: what they could come to at best
