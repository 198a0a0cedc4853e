"""`note`: writes a line into the contact's timeline that the contact does not see.

```yaml
remark:
  note: "Interested in {{ session.interest }}"
  next: thanks
```
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from domain.effects import AddNote
from flows.options import Templates
from flows.steps import StepDocument, StepRun, step
from flows.texts import Texts

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn


@step("note")
class Note(StepDocument):
    """The text is a template."""

    note: Texts

    def prepare(self, maker: "Maker") -> "NoteRun":
        maker.exit("next", self.next)
        return NoteRun(maker.text("note", self.note, said=False), self.next)


@dataclass(frozen=True, slots=True)
class NoteRun(StepRun):
    text: Templates
    next: str | None

    def enter(self, turn: "Turn") -> None:
        text = turn.text(self.text)
        if text.strip():
            turn.add(AddNote(turn.state.step, text))
        turn.go(self.next)
