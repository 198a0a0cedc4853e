"""Words that every bot understands, whatever its flows say: /privacy, /mydata, /forget."""

from __future__ import annotations

from bot import resuming
from bot.scope import Scope
from bot.texts import builtin
from crm import privacy
from domain.events import MessageReceived, Place
from domain.messages import Button, ReceivedText, Tap, Text
from storage import jobs

FORGET_YES, FORGET_NO = "builtin:forget:yes", "builtin:forget:no"
ERASE_AFTER_MS = 60_000  # the answer leaves before the address does
MAX_PIECE = 3_500  # characters of one message: below every channel's limit
MAX_PIECES = 4  # the rest is in the file


def say(scope: Scope, key: str) -> None:
    """A built-in text in the person's language."""
    scope.send(Text(scope.business.text(key, scope.language, builtin(key, scope.language))))


def answer(scope: Scope, event: MessageReceived) -> bool:
    """Answers a built-in word; false when it was none. In groups nobody's data is shown to others."""
    content = event.content
    if isinstance(content, Tap) and content.option_id in (FORGET_YES, FORGET_NO):
        _forget(scope, content.option_id == FORGET_YES)
        return True
    if isinstance(content, Tap) and resuming.answered(scope, content.option_id):
        return True
    if not isinstance(content, ReceivedText) or event.origin.place is not Place.private:
        return False
    word = content.text.strip().split("@", 1)[0].lower()
    action = _COMMANDS.get(word)
    if action is None:
        return False
    action(scope)
    return True


def _privacy(scope: Scope) -> None:
    say(scope, "privacy")


def _mydata(scope: Scope) -> None:
    """Readable at once, the complete JSON as a file by a job."""
    conversation = scope.conversation
    if conversation is None:
        return
    say(scope, "mydata_soon")
    data = privacy.export(
        scope.connection, workspace_id=scope.workspace_id, contact_id=conversation.contact_id, now=scope.now
    )
    data.pop("messages", None)  # they stand above in this very chat; the file has them
    for piece in _pieces(privacy.readable(data, scope.language)):
        scope.send(Text(piece, preview_links=False))
    _later(scope, "mydata", scope.now)


def _ask_forget(scope: Scope) -> None:
    language = scope.language
    buttons = (
        Button(FORGET_YES, builtin("forget_yes", language)),
        Button(FORGET_NO, builtin("forget_no", language)),
    )
    scope.send(
        Text(scope.business.text("forget_ask", language, builtin("forget_ask", language)), buttons=buttons)
    )


def _forget(scope: Scope, wanted: bool) -> None:
    say(scope, "forget_done" if wanted else "forget_kept")
    if wanted:
        _later(scope, "erasure", scope.now + ERASE_AFTER_MS)


def _later(scope: Scope, kind: str, due_at: int) -> None:
    conversation = scope.conversation
    if conversation is None:
        return
    payload = {
        "contact_id": conversation.contact_id,
        "conversation_id": conversation.id,
        "language": scope.language,
        "by": "person",
    }
    runtime, workspace_id, event_id, now = scope.runtime, scope.workspace_id, scope.event_id, scope.now
    scope.batch.after.append(
        lambda connection: jobs.add(
            connection,
            workspace_id=workspace_id,
            kind=kind,
            key=str(event_id),
            payload=payload,
            due_at=due_at,
            sealer=runtime.sealer,
            new_id=runtime.new_id,
            now=now,
        )
    )


_COMMANDS = {
    "/privacy": _privacy,
    "/mydata": _mydata,
    "/miei_dati": _mydata,
    "/forget": _ask_forget,
    "/dimenticami": _ask_forget,
}


def _pieces(text: str) -> list[str]:
    """The text in messages, cut between lines."""
    pieces: list[str] = []
    piece = ""
    for line in text.splitlines():
        if len(piece) + len(line) + 1 > MAX_PIECE:
            pieces.append(piece)
            piece = ""
        piece += line[:MAX_PIECE] + "\n"
    pieces.append(piece)
    return [one.strip() for one in pieces if one.strip()][:MAX_PIECES]
