"""`tag`: puts tags on the contact, or takes them off.

```yaml
mark:
  tag: [lead, "{{ session.interest }}"]
  remove: [cold]
  next: thanks
```

`tag: "{{ session.sizes }}"` puts each item of a list there, such as the answer of a question for several choices.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import BeforeValidator, Field

from domain.effects import PatchContact
from flows.expressions import Template, shown
from flows.steps import StepDocument, StepRun, step
from flows.texts import local_text

if TYPE_CHECKING:
    from flows.compiler import Maker
    from flows.turns import Turn

MAX_TAG = 100  # characters
MAX_ITEMS = 50  # of a list: what one question can offer


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Tag = Annotated[str, Field(min_length=1, max_length=MAX_TAG)]
Tags = Annotated[tuple[Tag, ...], BeforeValidator(_listed), Field(max_length=20)]


@step("tag")
class TagStep(StepDocument):
    """`tag` adds, `remove` takes away."""

    tag: Tags
    remove: Tags = ()

    def prepare(self, maker: "Maker") -> "TagRun":
        maker.exit("next", self.next)
        return TagRun(
            tuple(maker.value("tag", local_text(tag)) for tag in self.tag),
            tuple(maker.value("remove", local_text(tag)) for tag in self.remove),
            self.next,
        )


@dataclass(frozen=True, slots=True)
class TagRun(StepRun):
    add: tuple[Template, ...]
    remove: tuple[Template, ...]
    next: str | None

    def enter(self, turn: "Turn") -> None:
        add, remove = _rendered(self.add, turn), _rendered(self.remove, turn)
        if add or remove:
            turn.contact.tags.update(add)
            turn.contact.tags.difference_update(remove)
            turn.add(PatchContact(turn.state.step, add_tags=add, remove_tags=remove))
        turn.go(self.next)


def _rendered(tags: tuple[Template, ...], turn: "Turn") -> tuple[str, ...]:
    names = (name.strip()[:MAX_TAG] for tag in tags for name in listed(tag, turn))
    return tuple(dict.fromkeys(name for name in names if name))


def listed(source: Template, turn: "Turn") -> list[str]:
    """The names that a source stands for: each item where it is one placeholder that holds a list (the answer of a
    question for several choices), else its text."""
    value = None if source.constant is not None else source.evaluate(turn)
    if isinstance(value, (list, tuple)):
        return [shown(item, turn.language) for item in value[:MAX_ITEMS]]
    return [source.render(turn)]
