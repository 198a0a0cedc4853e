"""Holding: what a person does while their session waits for the answer to a call stays behind that answer.

Such an event is set aside as `WAITING` in intake, out of the way of those who claim, and opened again by the
transaction in which the session stops waiting, so that it is handled next and in its order. Not held: a STOP, what a
platform tells of the person, and a hand-over to or from a person of the team. No longer than `claiming.HELD_MS`: then
the scheduler opens it, whatever has become of the call.
"""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, text

from bot.batch import Batch, ConversationRow
from bot.intake import WAITING
from domain.events import Event, MessageDeleted, MessageEdited, MessageReceived, SessionCommand, TimerDue
from flows import state
from flows.state import CALL

LONGEST_MS = 45_000  # more than the longest call and its grace (`flows/steps/http.py`)
AT_ONCE = 500  # rows that the scheduler opens in one transaction
PASSING = frozenset(("take_over", "hand_back", "stop", "expire"))  # commands that do not wait for a service

Key = tuple[int, str]  # (channel id, intake key)

_LET_GO = text(
    "UPDATE intake SET state = 0, not_before = 0 "
    f"WHERE state = {WAITING} AND channel_id = :channel AND intake_key = :key"
)
_HELD = text(
    f"SELECT 1 FROM intake WHERE state = {WAITING} AND channel_id = :channel AND intake_key = :key LIMIT 1"
)


def waits(batch: Batch, conversation: ConversationRow | None) -> bool:
    """Whether the bot speaks here and its session waits for the answer to a call."""
    if conversation is None or conversation.status != "bot":
        return False
    session = batch.sessions.get(conversation.session_id)
    if session is None or '"call"' not in session.state:  # nearly always; a state that has the word is read
        return False
    return state.decode(session.state).waiting == CALL


def stays_behind(connection: Connection, event: Event, key: Key, *, waited: bool, others: bool) -> bool:
    """Whether an event of a conversation has to wait; `waited` is what `waits` says of it, `others`: events before it
    in this round have to."""
    match event:
        case MessageReceived(opt_out=opt_out):
            return waited and not opt_out
        case MessageEdited() | MessageDeleted():  # they change the row of a message that may still be held
            return others or connection.execute(_HELD, {"channel": key[0], "key": key[1]}).first() is not None
        case SessionCommand(what=what):
            return waited and what not in PASSING
        case TimerDue(purpose=purpose):
            return waited and purpose != CALL
        case _:
            return False


def let_go(key: Key) -> Callable[[Connection], None]:
    """The write that opens what was held of a conversation."""

    def write(connection: Connection) -> None:
        connection.execute(_LET_GO, {"channel": key[0], "key": key[1]})

    return write


def let_go_late(connection: Connection, now: int) -> int:
    """Opens what was held for too long; gives how many."""
    opened = connection.execute(
        text(
            f"UPDATE intake SET state = 0, not_before = 0 WHERE id IN (SELECT id FROM intake WHERE state = {WAITING} "
            "AND not_before <= :now LIMIT :n)"
        ),
        {"now": now, "n": AT_ONCE},
    )
    return opened.rowcount
