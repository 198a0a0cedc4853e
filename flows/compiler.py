"""From a document to an immutable version: templates and conditions are made ready once, here.

Everything that could be refused while a contact waits is refused now: templates outside the allowed subset, paths
that lead nowhere, conditions with unknown operators, patterns that RE2 does not take. All faults come at once, each
with its line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from domain import durations, predicates
from domain.errors import RejectedInput
from flows.document import DocumentRejected, FlowDocument, Problem
from flows.expressions import Template, condition, getter, split, template
from flows.options import Templates
from flows.steps import StepDocument
from flows.texts import LocalText, local_text
from flows.turns import Turn
from flows.versions import CompiledFlow, CompiledStep, Exit, TemplateUse


def compile(document: FlowDocument, version_id: int) -> CompiledFlow:
    """The version of a document, to be kept as long as sessions need it. `version_id` is its row's id, 0 to try out.

    Raises DocumentRejected listing every fault with its line.
    """
    steps: dict[str, CompiledStep] = {}
    problems: list[Problem] = []
    for step_id, step in document.steps.items():
        maker = Maker(step_id, document)
        compiled = maker.make(step)
        problems.extend(maker.problems)
        if compiled is not None:
            steps[step_id] = compiled
    if problems:
        raise DocumentRejected(document.name, problems)
    return CompiledFlow(
        key=document.flow,
        version=version_id,
        languages=document.languages,
        start=document.start,
        steps=steps,
        document=document,
        expires_ms=durations.parse(document.expires),
    )


class Maker:
    """Compiles one step and notes what inspection wants to know of it. Steps call it from `prepare`.

    Faults of texts and conditions are noted, not raised, so that all of a document are reported together.
    """

    def __init__(self, step_id: str, document: FlowDocument) -> None:
        self.step_id = step_id
        self.problems: list[Problem] = []
        self._document = document
        self._exits: list[Exit] = []
        self._texts: list[tuple[str, LocalText]] = []
        self._buttons: list[tuple[str, LocalText]] = []
        self._reads: set[str] = set()
        self._writes: set[str] = set()
        self._result: str | None = None
        self._calls: str | None = None
        self._costs: str | None = None
        self._secrets: set[str] = set()
        self._own_scope: frozenset[str] | None = None
        self._shows: str = ""
        self._unknown: set[str] = set()
        self._known: set[str] = set()
        self._passes: set[str] = set()
        self._blank: set[str] = set()
        self._clears: set[str] = set()
        self._decides: set[str] = set()
        self._ends: str | None = None
        self._ways = 0
        self._second: list[tuple[str, LocalText]] = []
        self._unsaid: set[str] = set()
        self._template_use: TemplateUse | None = None
        self._weight = 1

    def make(self, step: StepDocument) -> CompiledStep | None:
        """The compiled step; None when it has faults."""
        try:
            runner = step.prepare(self)
        except ValueError as error:
            self._fault((), str(error))
            return None
        return CompiledStep(
            id=self.step_id,
            type=step.type,
            waits=step.waiting(),
            line=self._document.lines.of("steps", self.step_id),
            runner=runner,
            exits=tuple(self._exits),
            texts=tuple(self._texts),
            reads=frozenset(self._reads),
            writes=frozenset(self._writes),
            result=self._result,
            calls=self._calls,
            buttons=tuple(self._buttons),
            costs=self._costs,
            secrets=frozenset(self._secrets),
            own_scope=self._own_scope,
            shows=self._shows,
            weight=self._weight,
            counts="node.visit_count" in self._reads,
            unknown=frozenset(self._unknown),
            passes=frozenset(self._passes),
            blank=frozenset(self._blank),
            clears=frozenset(self._clears),
            decides=frozenset(self._decides),
            ends=self._ends,
            ways=self._ways,
            second=tuple(self._second),
            unsaid=frozenset(self._unsaid),
            template=self._template_use,
        )

    def text(self, field: str, text: LocalText, *, said: bool = True) -> Templates:
        """A text in all its languages and wordings. `said` false: the contact does not see it."""
        self._texts.append((field, text))
        if not said:
            self._unsaid.add(field)
        return self._templates(field, text)

    def worded(self, field: str, languages: Iterable[str]) -> None:
        """Words that an answer is held against, written in each of these languages; they are not said."""
        self._texts.append((field, LocalText(dict.fromkeys(languages, ("",)))))
        self._unsaid.add(field)

    def label(self, option_id: str, text: LocalText, *, second: bool = False) -> Templates:
        """A button's label; `second`: of a second question of the step."""
        (self._second if second else self._buttons).append((option_id, text))
        return self._templates("options", text)

    def value(self, field: str, text: LocalText) -> Template:
        """A text that is the same in every language and is not said to anybody."""
        return next(iter(self._templates(field, text).values()))[0]

    def path(self, field: str, path: str) -> Callable[[Turn], Any]:
        """A path whose value is taken as it is, of whatever kind (`result.slots`); in flows that are written in
        expressions an expression."""
        if self.excellent:
            return self.value(field, local_text(path)).evaluate
        try:
            read = getter(split(path), where=field)
        except RejectedInput as error:
            self._fault(tuple(_parts(field)), error.what)
            return lambda turn: None
        self._reads.add(path)
        return read

    def condition(self, field: str, data: dict[str, Any]) -> Callable[[Turn], bool]:
        """A predicate, ready to be asked."""
        try:
            parsed = predicates.parse(data, where=field)
            decided = condition(parsed, where=field)
            subjects = list(predicates.subjects(parsed))
            self._decides.update(subjects)
            self._weight += len(subjects)
        except RejectedInput as error:
            inside = f"{error.where}.".startswith(f"{field}.")
            self._fault(tuple(_parts(error.where if inside else field)), error.what if inside else str(error))
            return lambda turn: False
        return decided

    def exit(self, name: str, target: str | None, *, flow: str | None = None) -> None:
        """One way out."""
        self._exits.append(Exit(name, target, flow))

    def drop_exit(self, name: str, *, certain: bool = False) -> None:
        """Takes back a way that no answer goes; it stays where it is also taken without one, unless that is `certain`
        not to be."""
        if certain or name not in self._blank:
            self._blank.discard(name)
            self._exits = [exit for exit in self._exits if exit.name != name]

    def passes(self, name: str) -> None:
        """An exit by which the step may be left at once, although it waits as a rule."""
        self._passes.add(name)

    def blank(self, name: str) -> None:
        """An exit that is also taken where nothing was answered."""
        self._blank.add(name)

    def ends(self, outcome: str) -> None:
        """The step ends the flow with that outcome."""
        self._ends = outcome

    def decides(self, paths: Iterable[str]) -> None:
        """What the step looks at to choose its way on."""
        self._decides.update(paths)

    def ways(self, count: int) -> None:
        """Buttons of ours that may stand below the question: skip, back."""
        self._ways = count

    def template(self, use: TemplateUse) -> None:
        """The platform's template that the step sends."""
        self._template_use = use

    def writes(self, path: str) -> None:
        """A variable or field that the step sets."""
        self._writes.add(path)

    def clears(self, path: str) -> None:
        """A variable or field that the step empties."""
        self._writes.discard(path)
        self._clears.add(path)

    def knows(self, path: str) -> None:
        """From here on the step's texts may read this: the step itself has set it before."""
        self._known.add(path)

    def gives(self, result: str) -> None:
        """The key under which a question keeps its result."""
        self._result = result

    def calls(self, flow: str, *, own: frozenset[str] | None = None) -> None:
        """The sub-flow that the step runs; `own`: it has a scope of its own, which begins with these variables."""
        self._calls = flow
        self._own_scope = own

    def shows(self, kind: str) -> None:
        """What a message of the step is (`media`, `template` …), where that has limits of its own."""
        self._shows = kind

    @property
    def excellent(self) -> bool:
        """Whether the flow is written in RapidPro's expressions."""
        return self._document.expressions == "excellent"

    def costs(self, what: str) -> None:
        """Each passing of the step costs money: inspection keeps it out of loops."""
        self._costs = what

    def secret(self, name: str) -> None:
        """A value of the installation that the step uses by its name."""
        self._secrets.add(name)

    def _templates(self, field: str, text: LocalText) -> Templates:
        made: dict[str, tuple[Template, ...]] = {}
        for language, wordings in text.wordings.items():
            made[language] = tuple(self._template(field, language, wording) for wording in wordings)
        return made

    def _template(self, field: str, language: str, source: str) -> Template:
        where = f"{field}.{language}" if language else field
        try:
            made = self._language(source, where=where)
        except RejectedInput as error:
            self._fault(tuple(_parts(where)), error.what)
            return Template([], frozenset())
        self._reads.update(path for path in made.reads if ".".join(path.split(".")[:2]) not in self._known)
        if made.constant is None:
            self._weight += sum(source.count(sign) for sign in "{@|(")
        return made

    def _language(self, source: str, *, where: str) -> Template:
        """The template of a source, in the language of the flow."""
        if not self.excellent:
            return template(source, where=where)
        from flows import excellent  # only imported flows are written in it

        made = excellent.template(source, where=where)
        self._unknown |= made.unknown
        return made

    def _fault(self, path: tuple[str | int, ...], what: str) -> None:
        full = ("steps", self.step_id, *path)
        self.problems.append(Problem(self._document.lines.of(*full), ".".join(map(str, full)), what))


def _parts(field: str) -> list[str | int]:
    return [int(part) if part.isdigit() else part for part in field.split(".")]
