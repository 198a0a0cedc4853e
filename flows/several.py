"""A question that takes several of its options (`ask: choices`): how they are toggled, ended and read from words.

Tapping an option marks it (the question is shown again, `✓` before what is chosen) and tapping it again takes it
back; "Done" ends, and is offered once there are enough. Words are a whole answer at once: `1, 3`, `rosso e blu`,
`tutti`; they are added to what was tapped before. What is marked is kept in the session's `stage`, so that it
survives everything that a session does. A tap starts the time allowed anew and uses up no try.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from domain.messages import Button, Received, ReceivedText, Tap
from flows.answers import Invalid, Valid
from flows.options import Options, Templates, plain
from flows.questions import Manners, Question
from flows.words import ALL, DONE, NONE

if TYPE_CHECKING:
    from flows.turns import Turn

DONE_ID = "_done"  # no option of an author can be called so
MARK = "✓ "
MAX_INPUT = 1_000  # characters: fifty options with their commas
MAX_PIECES = 60  # "1, 2, 3 …"

_SEPARATOR = re.compile(r"(\s*[,;\n+&]\s*(?:(?:e|ed|and)\s+)?|\s+(?:e|ed|and)\s+)", re.IGNORECASE)


class SeveralRun(Question):
    """`least` and `most` say how many; `values` is what is saved of each option."""

    __slots__ = ("done", "least", "most", "values")

    def __init__(
        self,
        manners: Manners,
        text: Templates,
        options: Options,
        *,
        values: Mapping[str, Any],
        done: Templates,
        least: int,
        most: int,
    ) -> None:
        super().__init__(manners, text, options)
        self.values = values
        self.done = done
        self.least = least
        self.most = most

    def answer(self, turn: Turn, received: Received) -> None:
        if isinstance(received, Tap):
            marked = _marked(turn)
            if any(option.id == received.option_id for option in self._options.all):
                self._toggle(turn, received.option_id, marked)
                return
            if received.option_id == DONE_ID:
                self._end(turn, marked, received.title)
                return
        super().answer(turn, received)

    def read(self, turn: Turn, received: Received) -> Valid | Invalid:
        if not isinstance(received, ReceivedText):
            return Invalid("choices")
        text, marked = received.text, _marked(turn)
        if self._is_done(turn, plain(text)):
            return self._judged(marked, text)
        named = named_options(self._options, turn, text)
        return Invalid("choices") if named is None else self._judged([*marked, *named], text)

    @property
    def _options(self) -> Options:
        assert self.options is not None
        return self.options

    def _toggle(self, turn: Turn, option_id: str, marked: list[str]) -> None:
        now = [one for one in marked if one != option_id] if option_id in marked else [*marked, option_id]
        if len(now) > self.most:
            self.refuse(turn, "too_many")
            return
        turn.state.stage = ",".join(now)
        turn.state.visit += 1  # the time allowed starts anew
        self.pose(turn, turn.text(self.text))

    def _end(self, turn: Turn, marked: list[str], words: str) -> None:
        found = self._judged(marked, words)
        if isinstance(found, Invalid):
            self.refuse(turn, found.reason)
        else:
            self.accept(turn, found)

    def _judged(self, chosen: list[str], words: str) -> Valid | Invalid:
        ids = [option.id for option in self._options.all if option.id in chosen]
        if len(ids) < self.least:
            return Invalid("too_few")
        if len(ids) > self.most:
            return Invalid("too_many")
        return Valid([self.values[each] for each in ids], words[:200], "valid" if ids else "none")

    def _is_done(self, turn: Turn, words: str) -> bool:
        if words in DONE or words == plain(turn.text(self.done)):
            return True
        return self._offers_done(turn) and words == str(len(self._options.all) + 1)

    def _offers_done(self, turn: Turn) -> bool:
        return len(_marked(turn)) >= self.least

    def choices(self, turn: Turn, options: Options | None) -> tuple[Button, ...]:
        marked = _marked(turn)
        shown = tuple(
            Button(button.id, MARK + button.title) if button.id in marked else button
            for button in super().choices(turn, options)
        )
        return (*shown, Button(DONE_ID, turn.text(self.done))) if self._offers_done(turn) else shown


def _marked(turn: Turn) -> list[str]:
    return turn.state.stage.split(",") if turn.state.stage else []


def named_options(options: Options, turn: Turn, text: str) -> list[str] | None:
    """The ids of the options that the words name, by text or number; None when something names none of them."""
    if len(text) > MAX_INPUT:
        return None
    words = plain(text)
    if words in ALL:
        return [option.id for option in options.all]
    if words in NONE:
        return []
    pieces = _SEPARATOR.split(text.strip())
    if len(pieces) > MAX_PIECES * 2:
        return None
    found: list[str] = []
    place = 0
    while place < len(pieces):
        end, ids = _longest(options, turn, pieces, place)
        if not ids:
            return None
        found += ids
        place = end + 1  # behind the separator
    return found


def _longest(options: Options, turn: Turn, pieces: list[str], place: int) -> tuple[int, list[str]]:
    """The most pieces that are one option: a label may itself say `pane e olio`. Of numbers in a row each is one."""
    for end in range(min(len(pieces), place + 7), place, -2):  # a label of up to four pieces
        found = options.find(turn, ReceivedText("".join(pieces[place:end])))
        if found is not None:
            return end, [found]
    numbers = pieces[place].split()
    if len(numbers) > 1 and all(number.isascii() and number.isdigit() for number in numbers):
        if len(numbers) > MAX_PIECES:
            return place + 1, []
        each = [options.find(turn, ReceivedText(number)) for number in numbers]
        return place + 1, [] if None in each else [one for one in each if one is not None]
    return place + 1, []
