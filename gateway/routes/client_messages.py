"""What a client sends over a WebSocket: jobs, cancellations and answers, as with the calls of the same names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from typing import Any, ClassVar

import orjson
from holdfast.gateway.dependencies import State, is_idempotency_key, known_job
from holdfast.gateway.errors import BodyInvalid, Unauthenticated, presentable, problem_members
from holdfast.gateway.intents import answer_with, cancel
from holdfast.gateway.limits import Body, read_message
from holdfast.gateway.principal import Principal
from holdfast.gateway.routes.jobs import accepted_json
from holdfast.gateway.submission import submit
from holdfast.shared.errors import RequestInvalid
from holdfast.shared.owner import public_id, tenant_of

STOP = b"STOP"
MAX_REF_CHARACTERS = 128

Members = dict[str, Any]


class ClientMessages:
    """Answers the messages of one client, whose rights, as they are by then, are checked for each of them.

    Args:
        session_id: the complete id of the client's session.
    """

    __slots__ = ("_address", "_caller", "_session_id", "_state")

    def __init__(self, state: State, caller: Principal, session_id: str, address: str) -> None:
        self._state = state
        self._caller = caller
        self._session_id = session_id
        self._address = address

    async def answer(self, text: bytes) -> bytes:
        """Carry out what a text message requests. Returns the reply, which is JSON; errors are replies too."""
        context: Members = {}
        try:
            self._caller = self._current_caller()
            content = await self._carry_out(text, context)
        except Exception as error:  # noqa: BLE001 - every message gets a reply
            known = presentable(error, session_id=self._session_id, message_type=context.get("to"))
            retry_after_s = getattr(known, "retry_after_s", None)
            retry = {} if retry_after_s is None else {"retry_after_s": retry_after_s}
            return orjson.dumps({"type": "error", **context, **problem_members(known), **retry})
        return orjson.dumps({"type": "reply", **context, **content})

    async def _carry_out(self, text: bytes, context: Members) -> Mapping[str, Any]:
        """Returns the members of the reply, and puts those that every reply has into `context`. Raises HoldfastError,
        RedisError."""
        if text.strip() == STOP:
            context["to"] = "cancel"
            await self._count()
            return await self._cancel(Body({}, len(text)))
        body = await read_message(text, self._state["cpu_slot"])
        if not isinstance(body.value, dict):
            raise RequestInvalid("body", "should be an object, or the text STOP")
        kind = _take_kind(body.value, context, self._carried_out_by)
        await self._count()
        return await self._carried_out_by[kind](self, body)

    def _current_caller(self) -> Principal:
        """Raises Unauthenticated."""
        caller = self._state["hub"].access.current(self._caller)
        if caller is None:
            raise Unauthenticated("the credentials were revoked")
        return caller

    async def _count(self) -> None:
        """Count the message as a request that writes. Raises RateLimited."""
        await self._state["rate_limits"].check_write(tenant_of(self._session_id), self._address)

    async def _job(self, body: Body) -> Members:
        key = body.value.pop("idempotency_key", None)
        if key is not None and not (isinstance(key, str) and is_idempotency_key(key)):
            raise RequestInvalid("idempotency_key", "should be 1 to 255 visible ASCII characters")
        submitted = await submit(self._state, self._caller, self._session_id, body, key)
        replayed = {"replayed": True} if submitted.replayed else {}
        return accepted_json(self._session_id, submitted) | replayed

    async def _cancel(self, body: Body) -> Members:
        self._caller.check("stop")
        job_id = await self._job_id(body)
        if body.value:
            raise BodyInvalid([(name, "unknown field") for name in body.value])
        status = await cancel(self._state, self._session_id, job_id)
        return {"session_id": public_id(self._session_id), "job_id": job_id, "status": status}

    async def _answer(self, body: Body) -> Members:
        self._caller.check("answer")
        job_id = await self._job_id(body)
        await answer_with(self._state, self._session_id, job_id, body)
        return {"session_id": public_id(self._session_id), "job_id": job_id}

    async def _job_id(self, body: Body) -> str:
        """Take the job that is meant from a message: by default the one that runs or is next, else the last one."""
        job_id = body.value.pop("job_id", None)
        if job_id is None:
            return (await self._state["sessions"].session(self._session_id)).current.job_id
        if not isinstance(job_id, str):
            raise RequestInvalid("job_id", "should be a string")
        return known_job(job_id)

    _carried_out_by: ClassVar[Mapping[str, Callable[[ClientMessages, Body], Awaitable[Members]]]] = {
        "answer": _answer,
        "cancel": _cancel,
        "job": _job,
    }


def _take_kind(message: Members, context: Members, kinds: Collection[str]) -> str:
    """Move what every message may have into `context`, and return which of these kinds it is. Raises RequestInvalid."""
    kind, ref = message.pop("type", None), message.pop("ref", None)
    if ref is not None:
        if not isinstance(ref, str) or len(ref) > MAX_REF_CHARACTERS:
            raise RequestInvalid("ref", f"should be a string of at most {MAX_REF_CHARACTERS} characters")
        context["ref"] = ref
    if not isinstance(kind, str) or kind not in kinds:
        raise RequestInvalid("type", f"should be one of {', '.join(kinds)}")
    context["to"] = kind
    return kind
