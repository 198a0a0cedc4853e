"""Calls to services: what a flow asks of others, as jobs outside every conversation's transaction.

Theory of operation. The turn that asks commits a job together with the session's new state (waiting for `call`) and a
fallback timer. The runner of calls is woken by that commit. It marks the job as taken (durably, which is the last
moment at which nothing has been sent), makes the request through the one outgoing client, and stores the answer, as
an event of the conversation, in the transaction that ends the job. In the meantime the conversation's later events
are held (`claiming.HELD`).

A crash between taking and storing leaves a job that was taken before. A request that may be repeated is made again,
with the same `Idempotency-Key`; of any other one nobody knows whether it arrived, so that it is answered with the
problem `unknown` and never sent twice. Answers after the deadline, and second ones, find the session elsewhere and do
nothing.
"""

from __future__ import annotations

from typing import Protocol
from urllib.parse import quote, urlsplit

import msgspec
from sqlalchemy import Connection

from bot import assistant, intake, secret_store
from bot.assistant import Assistant
from bot.outgoing import CallFailed, Limits, Outgoing, Request
from bot.runtime import Runtime
from bot.scope import Scope
from domain import ids
from domain.crash import crash_point
from domain.effects import CallHttp
from domain.errors import Unavailable
from domain.events import HttpAnswered
from storage import jobs
from storage.jobs import Again, Done, Running, job

KIND = "http_call"
KINDS = (KIND,)
TOPIC = "calls"  # the signal that wakes their runner
AT_ONCE = 64  # calls of one process at a time: they wait, they do not work
LEASE_MS = 24_000  # three quarters of it are longer than the longest call; then another process takes it over
MARGIN_MS = 500  # kept of the deadline for storing the answer
BUSY_MS = 100  # until a place is looked for again
IN_TURN = "in turn"  # the cursor of a call that has its place in the workspace's rate


class Context(Protocol):
    """What calls need of the process."""

    runtime: Runtime
    outgoing: Outgoing
    limits: Limits
    assistant: Assistant


class Call(msgspec.Struct, frozen=True):
    """What a job holds: the request, and whose answer it is."""

    effect: CallHttp
    channel_id: int
    slot: int
    intake_key: str
    conversation_id: int
    contact_id: int
    session_id: int


def call_later(scope: Scope, effect: CallHttp) -> None:
    """Adds the job in the transaction that stores the session."""
    conversation, session = scope.conversation, scope.session
    if conversation is None or session is None:
        return
    call = Call(
        effect,
        channel_id=conversation.channel_id,
        slot=conversation.slot,
        intake_key=conversation.intake_key,
        conversation_id=conversation.id,
        contact_id=conversation.contact_id,
        session_id=session.id,
    )
    runtime, workspace_id, now = scope.runtime, scope.workspace_id, scope.now
    key = _key(effect.service, conversation.contact_id, runtime.new_id())

    def add(connection: Connection) -> None:
        jobs.add(
            connection,
            workspace_id=workspace_id,
            kind=KIND,
            key=key,
            payload=msgspec.to_builtins(call),
            due_at=now,
            sealer=runtime.sealer,
            new_id=runtime.new_id,
            now=now,
        )

    scope.batch.after.append(add)
    scope.batch.wakes.append(TOPIC)


def _key(service: str, contact_id: int, number: int) -> str:
    """Keys say whose calls they are: those of the assistant are counted, and all of them go with the person."""
    return f"{assistant.key_prefix(contact_id, service)}{number:019d}"


@job(KIND)
async def http_call(context: Context, running: Running) -> Done | Again:
    """Makes one call and brings its answer back."""
    call = msgspec.convert(running.payload, Call)
    now = context.runtime.clock()
    left_ms = call.effect.deadline - now - MARGIN_MS
    if left_ms <= 0:
        return _answered(context, running, call, problem="timeout")
    if running.attempts > 1 and not call.effect.idempotent:
        return _answered(context, running, call, problem="unknown")
    if not running.cursor:
        wait_ms = int(context.limits.wait(running.workspace_id) * 1000)
        if wait_ms >= left_ms:
            context.limits.give_back(running.workspace_id)
            return _answered(context, running, call, problem="busy")
        if wait_ms:
            return Again(IN_TURN, due_at=now + wait_ms)
    if not context.limits.enter(running.workspace_id):
        return Again(IN_TURN, due_at=now + BUSY_MS)
    try:
        return await _call(context, running, call, left_ms)
    finally:
        context.limits.leave(running.workspace_id)


async def _call(context: Context, running: Running, call: Call, left_ms: int) -> Done | Again:
    try:
        request = await context.runtime.database.read(
            lambda connection: _request(connection, context, running, call, left_ms)
        )
    except Unavailable:  # nothing was sent
        return Again(IN_TURN, due_at=context.runtime.clock() + BUSY_MS)
    except CallFailed as failed:
        return _answered(context, running, call, problem=failed.problem)
    try:
        crash_point("calls.before_request")
        answer = await context.outgoing.call(request)
    except CallFailed as failed:
        problem = failed.problem
        if failed.sent and problem == "unreachable" and not call.effect.idempotent:
            problem = "unknown"
        return _answered(context, running, call, status=failed.status, problem=problem)
    crash_point("calls.after_answer")
    return _answered(context, running, call, status=answer.status, body=answer.body)


def _request(connection: Connection, context: Context, running: Running, call: Call, left_ms: int) -> Request:
    """The request of a job, with the values of its secrets. Raises CallFailed when it cannot be made."""
    effect, timeout_s = call.effect, min(call.effect.timeout_ms, left_ms) / 1000
    if effect.service:
        return _to_assistant(connection, context, running, call, timeout_s)
    wanted = {use.name for use in (*effect.secrets.values(), *effect.secret_query.values())}
    found = secret_store.values(connection, running.workspace_id, wanted, sealer=context.runtime.sealer)
    if len(found) < len(wanted):
        raise CallFailed("no_secret")
    url = effect.url
    for name, use in effect.secret_query.items():
        part = f"{quote(name, safe='')}={quote(use.prefix + found[use.name], safe='')}"
        url = f"{url}{'&' if '?' in url else '?'}{part}"
    return Request(
        effect.method,
        url,
        {**effect.headers, "Idempotency-Key": ids.to_text("job", running.id)},
        {name: use.prefix + found[use.name] for name, use in effect.secrets.items()},
        None if effect.body is None else effect.body.encode(errors="replace"),
        timeout_s,
    )


def _to_assistant(
    connection: Connection, context: Context, running: Running, call: Call, timeout_s: float
) -> Request:
    effect = call.effect
    if not context.assistant.url:
        raise CallFailed("unavailable")
    now = context.runtime.clock()
    if assistant.used_today(connection, running.workspace_id, call.contact_id, now) > effect.per_day:
        raise CallFailed("limit")
    question = msgspec.json.decode(effect.body or "{}")["messages"][-1]["content"]
    said = assistant.said_before(
        connection, running.workspace_id, call.conversation_id, effect.history, question
    )
    return context.assistant.request(effect, said, timeout_s)


def _answered(
    context: Context, running: Running, call: Call, *, status: int = 0, body: str = "", problem: str = ""
) -> Done:
    """The end of the job: what came of the call goes to intake in the transaction that records it."""
    runtime, now = context.runtime, context.runtime.clock()
    event = HttpAnswered(
        key=f"call:{running.id}",
        occurred_at=now,
        conversation_id=call.conversation_id,
        session_id=call.session_id,
        step_id=call.effect.step_id,
        visit=call.effect.visit,
        status=status,
        body=body,
        problem=problem,
        server=urlsplit(call.effect.url).netloc.rpartition("@")[2] if problem == "not_allowed" else "",
    )
    own = (running.workspace_id, call.channel_id, call.slot, call.intake_key, event)

    def bring_back(connection: Connection) -> None:
        intake.append_own(connection, [own], sealer=runtime.sealer, new_id=runtime.new_id, now=now)

    return Done({"status": status, "problem": problem}, also=bring_back, wakes="intake")
