"""The flow document: what authors write, checked for form and kept with its lines.

`load` reads the text (see `yaml_reader`) and checks it against the models: this file for the whole, `steps/` for each
step type. All faults are reported at once, each with its line. What a well-formed flow *means* (targets that do not
exist, dead ends …) is `inspection`'s business.
"""

import re
from itertools import islice
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SerializeAsAny,
    ValidationError,
    field_validator,
)

from domain.errors import RejectedInput, meant
from flows.steps import Duration, FlowKey, StepDocument, StepId, read_step
from flows.texts import Texts
from flows.triggers import Trigger, read_trigger
from flows.upgrades import FORMAT, upgraded
from flows.yaml_reader import Lines, read

MAX_STEPS = 1_000  # a person cannot oversee more; sub-flows divide
MAX_PLACEHOLDERS = 5_000  # `{{`, `{%` and `@(` in all texts: half a second of compiling
MAX_MENTIONS = 20_000  # @ in a flow of RapidPro's expressions: half a second of compiling
MAX_PATTERNS = 200  # each may take RE2 eight milliseconds before it is refused
MAX_TRIGGERS = 50
MAX_REGEX = 5  # triggers by regular expression, of as many patterns each: every message is held against them
SHOWN = 20  # faults that are reported at once
MAX_PROBLEMS = 1_000  # faults that are kept
MAX_WHERE, MAX_WHAT = 200, 400  # characters of a fault: what was written may be repeated in it


class Problem(NamedTuple):
    """One fault: `where` is a path such as `steps.email.save`."""

    line: int
    where: str
    what: str


class DocumentRejected(RejectedInput):
    """A flow that cannot be read or compiled. `problems` holds every fault with its line, in the text's order."""

    def __init__(self, name: str, problems: list[Problem]) -> None:
        ordered = sorted(
            Problem(line, where[:MAX_WHERE], what[:MAX_WHAT]) for line, where, what in problems[:MAX_PROBLEMS]
        )
        lines = [
            f"line {line}, {where}: {what}" if where else f"line {line}: {what}"
            for line, where, what in ordered
        ]
        more = [f"… and {len(lines) - SHOWN} more"] if len(lines) > SHOWN else []
        super().__init__("\n".join([*lines[:SHOWN], *more]), where=name)
        self.problems = ordered


class FlowDocument(BaseModel):
    """A flow as it is written. `lines` maps paths to lines; `name` is the file's, for messages."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", hide_input_in_errors=True, arbitrary_types_allowed=True
    )

    format: int = FORMAT  # of the text: older ones are upgraded when they are read (`flows/upgrades/`)
    flow: FlowKey
    title: Texts | None = None
    languages: Annotated[tuple[str, ...], Field(min_length=1, max_length=20)] = ("it", "en")
    triggers: Annotated[tuple[SerializeAsAny[Trigger], ...], Field(max_length=MAX_TRIGGERS)] = ()
    interruptible: bool = True  # false: while somebody is inside, no trigger ends it (a payment, say)
    late: Literal["answer", "ignore"] = "answer"  # what was written during an outage of more than ten minutes
    # A session in which nothing happens for so long is over: after a month nobody remembers the question, and what
    # they write then should start something new. Questions with a timeout and waits keep to their own time.
    expires: Duration = "30 days"
    expressions: Literal["templates", "excellent"] = "templates"  # the language of texts, values and operands
    start: StepId
    # SerializeAsAny: without it a dump would lose what the step types add
    steps: Annotated[dict[StepId, SerializeAsAny[StepDocument]], Field(min_length=1, max_length=MAX_STEPS)]
    canvas: dict[str, tuple[float, float]] = Field(default_factory=dict)
    name: str = Field(default="", exclude=True)
    lines: Lines = Field(default_factory=Lines, exclude=True, repr=False)

    @field_validator("languages")
    @classmethod
    def _codes(cls, languages: tuple[str, ...]) -> tuple[str, ...]:
        for language in languages:
            if not (
                2 <= len(language) <= 3 and language.isascii() and language.islower() and language.isalpha()
            ):
                raise ValueError(f"{language!r} is not a language code such as it or en")
        return languages


def load(text: str, name: str) -> FlowDocument:
    """The document in a YAML (or JSON) text. `name` is the file's, for messages.

    Raises RejectedInput; as DocumentRejected it lists every fault with its line. Bounded: 1 MB, 40 levels, 1,000 steps,
    5,000 placeholders, 20,000 expressions, 200 patterns.
    """
    if text.count("{{") + text.count("{%") + text.count("@(") > MAX_PLACEHOLDERS:
        where = _place(name, text, r"\{\{|\{%|@\(", MAX_PLACEHOLDERS)
        raise RejectedInput(f"at most {MAX_PLACEHOLDERS} placeholders in all texts together", where=where)
    if "excellent" in text and text.count("@") > MAX_MENTIONS:
        where = _place(name, text, "@", MAX_MENTIONS)
        raise RejectedInput(f"at most {MAX_MENTIONS} expressions in all texts together", where=where)
    if text.count("matches_pattern") + text.count("has_pattern") > MAX_PATTERNS:
        where = _place(name, text, "matches_pattern|has_pattern", MAX_PATTERNS)
        raise RejectedInput(f"at most {MAX_PATTERNS} patterns in all conditions together", where=where)
    document = read(text, name=name)
    if not isinstance(document.data, dict):
        raise RejectedInput("a flow is a mapping with flow, start and steps", where=f"{name}, line 1")
    lines = document.lines
    data = {key: value for key, value in document.data.items() if key not in ("name", "lines")}
    if len(data) != len(document.data):
        key = "name" if "name" in document.data else "lines"
        raise DocumentRejected(name, [Problem(lines.of(key), key, "there is no such key")])
    data = upgraded(data, name=name)
    _counted(name, data, lines)
    steps, problems = _steps(data.get("steps"), lines)
    if "triggers" in data:
        data["triggers"], faults = _triggers(data["triggers"], lines)
        problems += faults
    try:
        flow = FlowDocument.model_validate({**data, "steps": steps, "name": name, "lines": lines})
    except ValidationError as error:
        raise DocumentRejected(name, [*problems, *_problems(error, (), lines)]) from None
    if problems:
        raise DocumentRejected(name, problems)
    return flow


def _place(name: str, text: str, sign: str, most: int) -> str:
    """The line of the first thing that is too many."""
    found = next(islice(re.finditer(sign, text), most, None))
    return f"{name}, line {text.count(chr(10), 0, found.start()) + 1}"


def _counted(name: str, data: dict[str, Any], lines: Lines) -> None:
    """Refuses what is far too much before each of it is looked at."""
    problems = [
        Problem(lines.of(key), key, "there is no such key")
        for key in data
        if key not in FlowDocument.model_fields
    ]
    for key, most in (("steps", MAX_STEPS), ("triggers", MAX_TRIGGERS), ("canvas", MAX_STEPS)):
        there = data.get(key)
        if isinstance(there, (dict, list)) and len(there) > most:
            problems.append(Problem(lines.of(key), key, f"at most {most:,}, not {len(there):,}"))
    if len(problems) > SHOWN or any(problem.what.startswith("at most") for problem in problems):
        raise DocumentRejected(name, problems)


def _steps(data: Any, lines: Lines) -> tuple[Any, list[Problem]]:
    """Each step read by its own model, so that one faulty step hides no other."""
    if not isinstance(data, dict) or len(data) > MAX_STEPS:
        return data, []
    steps: dict[str, Any] = {}
    problems: list[Problem] = []
    for step_id, value in data.items():
        path = ("steps", step_id)
        steps[step_id] = StepDocument()  # a place holder when the step is refused
        if step_id == "end":
            problems.append(Problem(lines.of(*path), "steps.end", "end is a word of ours; choose another id"))
        if len(problems) > MAX_PROBLEMS:
            break
        try:
            steps[step_id] = read_step(value)
        except ValidationError as error:
            problems.extend(_problems(error, path, lines))
        except ValueError as error:
            problems.append(Problem(lines.of(*path), ".".join(path), str(error)))
    return steps, problems


def _triggers(data: Any, lines: Lines) -> tuple[Any, list[Problem]]:
    """Each trigger read by its own model; those that are refused are left out."""
    if not isinstance(data, list) or len(data) > MAX_TRIGGERS:
        return data, []
    triggers: list[Trigger] = []
    problems: list[Problem] = []
    patterns = 0
    for number, value in enumerate(data):
        where = f"triggers.{number}"
        patterns += isinstance(value, dict) and value.get("match") == "regex"
        try:
            if patterns > MAX_REGEX:
                raise ValueError(f"at most {MAX_REGEX} triggers by regular expression")
            triggers.append(read_trigger(value))
        except ValidationError as error:
            problems.extend(_problems(error, ("triggers", number), lines))
        except ValueError as error:
            problems.append(Problem(lines.of("triggers", number), where, str(error)))
    return triggers, problems


def _problems(error: ValidationError, above: tuple[str | int, ...], lines: Lines) -> list[Problem]:
    found = []
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        path = (*above, *fault["loc"])
        where = ".".join(str(part) for part in path if not _is_label(part))
        said = _said(fault["type"], fault["msg"])
        if fault["type"] == "extra_forbidden" and len(fault["loc"]) == 1:
            said += _meant(str(fault["loc"][0]), error.title)
        found.append(Problem(lines.of(*path), where, said))
    return found


def _meant(key: str, title: str) -> str:
    """The key of that step, trigger or flow that looks like this one."""
    models: list[type[Any]] = [FlowDocument, StepDocument, Trigger]
    for model in models:
        models += model.__subclasses__()
    known = [
        name for model in models if model.__name__ == title for name in getattr(model, "model_fields", ())
    ]
    return f"; {meant(key, known)}".removesuffix("; ")


def _is_label(part: str | int) -> bool:
    """Parts of pydantic's paths that are not in the document: names of alternatives and functions."""
    return isinstance(part, str) and (
        "[" in part or part in ("str", "bool", "int", "float", "OtherFlow", "Add", "constrained-str")
    )


def _said(kind: str, message: str) -> str:
    match kind:
        case "extra_forbidden":
            return "there is no such key"
        case "missing":
            return "is missing"
        case "string_pattern_mismatch":
            return "must be an id: letters, figures, _ and -, at most 64"
        case "string_type":
            return "must be a text; a number, a date or yes and no become one in quotation marks"
        case "bool_type" | "bool_parsing":
            return "must be true or false"
        case "tuple_type" | "list_type" | "set_type" | "frozen_set_type":
            return "must be a list, such as [a, b]"
        case "dict_type" | "mapping_type" | "model_type" | "dataclass_type" | "model_attributes_type":
            return "must be a mapping, such as {key: value}"
        case _:
            said = message.removeprefix("Value error, ")
            return re.sub(r"^(Input|String|Tuple|List|Dictionary) should ", "must ", said)
