"""The interrupt that a question becomes, in the outcome of a run: https://docs.ag-ui.com/concepts/interrupts."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import sha256
from typing import Any

import orjson
from holdfast.gateway.dialects.ag_ui.ids import interrupt_id
from holdfast.gateway.dialects.ag_ui.run import as_text

_TANSTACK = "tanstack:interruptBinding"  # without it, TanStack AI offers no `resolveInterrupt`


def interrupted(job_id: str, run_id: str, question: Mapping[str, Any]) -> dict[str, Any]:
    """Return the outcome of a run that ends with a question (the event `question.asked`)."""
    prompt, schema = question.get("prompt"), question.get("schema")
    interrupt = {"id": interrupt_id(job_id, str(question["question_id"])), "reason": "input_required"}
    interrupt["message"] = as_text(prompt)
    binding = {"v": 1, "kind": "generic", "interruptId": interrupt["id"], "interruptedRunId": run_id, "generation": 0}
    if isinstance(schema, dict) and schema:
        try:
            return _outcome({**interrupt, "responseSchema": schema, "metadata": {_TANSTACK: binding | _hashed(schema)}})
        except TypeError:  # nested too deeply: here it is some levels deeper
            pass
    return _outcome({**interrupt, "metadata": {_TANSTACK: binding}})


def _hashed(schema: Mapping[str, Any]) -> dict[str, str]:
    return {"responseSchemaHash": f"sha256:{sha256(orjson.dumps(schema, option=orjson.OPT_SORT_KEYS)).hexdigest()}"}


def _outcome(interrupt: Mapping[str, Any]) -> dict[str, Any]:
    outcome = {"type": "interrupt", "interrupts": [interrupt]}
    orjson.dumps({"outcome": outcome})
    return outcome
