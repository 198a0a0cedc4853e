"""The generated pages of docs/reference/flows/: what a flow can be made of.

One page for each type of step, answer and trigger, made from its docstring (with the real example), its model and the
comments beside its keys; one page each for filters, tests of answers, and functions of expressions. `checks.reference`
writes them, a docs test fails when one is stale, and `tests/flows/test_coverage.py` when a type has none.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from textwrap import dedent
from typing import Any

from pydantic import BaseModel

FOLDER = "flows"
NOTE = "<!-- Generated from the code by `make docs`. -->\n"
_SHARED = {
    "next": "the step that comes next; `end`: the flow is over",
    "comment": "for its authors, up to 2,000 characters",
}
_COMMON = {  # keys that mean the same wherever they stand
    "address": "street and town, as people read it",
    "after": "how long: `30 minutes`, `2 days`",
    "album": "2 to 10 files",
    "answer": "what is said",
    "answered": "the step behind an answer that was given",
    "append": "what is put at the end of the list",
    "ask": "the question in its wordings",
    "at": "the hour, `09:30`",
    "anonymous": "whether nobody sees who voted for what",
    "body": "what its values are filled with, in their order or by their names",
    "buttons": "below the message",
    "card": "the contact",
    "caption": "the words below it",
    "category": "the stable word for results and analytics",
    "company": "the company's name",
    "copy_code": "the code that is copied",
    "count": "how many",
    "currency": "ISO 4217: `EUR`",
    "email": "an e-mail address",
    "error": "the step when it failed, or nobody answered in time",
    "exits": "where it goes on, by how it ends",
    "file": "a stored file, `med_…`",
    "flow": "the other flow's key",
    "found": "the step behind a place that is near enough",
    "from": "the first day that counts",
    "give": "values that go along: texts with placeholders, or `{value: path}`",
    "goto": "the step that it leads to",
    "header": "what stands above: a text or a file",
    "headers": "headers of the request; a value of the installation as `{secret: name}`",
    "hours": "a sentence with the opening hours",
    "id": "its stable name",
    "kind": "what it is",
    "lat": "degrees, WGS 84",
    "latitude": "degrees, WGS 84",
    "links": "buttons that open a page",
    "lon": "degrees, WGS 84",
    "location": "the place",
    "longitude": "degrees, WGS 84",
    "media": "the file",
    "name": "its name",
    "none": "the step when there is none",
    "on": "which ones",
    "options": "what can be chosen",
    "phone": "a phone number",
    "poll": "the poll",
    "query": "parameters of the address; a value of the installation as `{secret: name}`",
    "question": "what is asked",
    "quick_reply": "what comes back from a tap",
    "reason": "why, for the timeline",
    "remove": "what is taken out of the list",
    "result": "the key under which what came of it is kept: `result.<key>`",
    "rules": "tests with their categories and targets; the first that fits decides",
    "save": "where the value goes: `session.<name>`, `contact.fields.<name>`, `contact.<column>`",
    "secret": "the name of a value of the installation",
    "several": "whether several may be chosen",
    "state": "whether it begins or ends",
    "step": "a step of that flow; its start when left out",
    "template": "the approved template with its values",
    "text": "what is said",
    "timeout": "where to go when no answer comes in time",
    "too_far": "the step when every place is too far away",
    "unavailable": "the step when the service is not set up, or its limit is reached",
    "until": "the last day that counts",
    "url": "a web address",
    "value": "what it is worth: a number or a template",
    "when": "a condition, as in `branch`",
    "within": "how long after",
    "yes": "for those who agree",
}
_TRIGGER = {
    "interrupts": "whether it ends a session that waits; each type says what it does by itself",
    "resume": "the person is then offered to go on with what was interrupted",
    "priority": "orders triggers of one rank, the highest first",
    "channels": "kinds of channels that it is narrowed to",
}


def pages() -> Iterator[tuple[str, str]]:
    """Every page as (path below docs/reference, text)."""
    from flows import answers, steps, triggers

    for key, kind in sorted(steps.registry().items()):
        yield f"{FOLDER}/steps/{key}.md", model_page(f"Step `{key}`", kind, _SHARED)
    for key, answer in sorted(answers.registry().items()):
        yield f"{FOLDER}/answers/{key}.md", answer_page(key, answer)
    for key, trigger in sorted(triggers.registry().items()):
        yield f"{FOLDER}/triggers/{key}.md", model_page(f"Trigger `{key}`", trigger, _TRIGGER)
    yield f"{FOLDER}/filters.md", filters_page()
    yield f"{FOLDER}/tests.md", matchers_page()
    yield f"{FOLDER}/functions.md", functions_page()
    yield f"{FOLDER}/index.md", index_page()


def first_sentence(owner: object) -> str:
    """What the docstring of a type's module says of it in one sentence: "`send`: says something, …"."""
    doc = inspect.getdoc(inspect.getmodule(owner)) or ""
    told = " ".join(doc.split("\n\n")[0].split())
    return re.sub(r"^`[^`]+`: ", "", told)


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


# --- steps and triggers -----------------------------------------------------------------------------------------------


def model_page(title: str, kind: type[BaseModel], shared: Mapping[str, str]) -> str:
    """The page of a step or trigger: what it does, the example, its keys, those of the mappings in it."""
    module = inspect.getdoc(inspect.getmodule(kind)) or ""
    head, example, tail = _parts(module)
    told = re.sub(r"^`[^`]+`: ", "", head)
    out = [f"# {title}\n\n{NOTE}\n{_capital(told)}\n"]
    if example:
        out.append(f"\n```yaml\n{example}```\n")
    out += [f"\n{text}\n" for text in (tail, inspect.getdoc(kind) or "") if text]
    schema = kind.model_json_schema()
    out.append("\n## Keys\n\n" + _table(kind, schema, shared))
    for name, inner in sorted(_inner(kind).items()):
        described = schema.get("$defs", {}).get(name)
        if described and "properties" in described:
            out.append(
                f"\n### {name}\n\n{inspect.getdoc(inner) or ''}\n\n"
                + _table(inner, described, {}, schema["$defs"])
            )
    return "".join(out)


def _parts(doc: str) -> tuple[str, str, str]:
    """A module's docstring in what stands before the example, the example, and what stands behind."""
    head, fence, rest = doc.partition("```yaml\n")
    example, _, tail = rest.partition("```")
    return head.strip(), example if fence else "", tail.strip()


def _table(
    kind: type[BaseModel],
    schema: Mapping[str, Any],
    shared: Mapping[str, str],
    defs: Mapping[str, Any] | None = None,
) -> str:
    rows = ["| key | takes | default | meaning |\n|---|---|---|---|\n"]
    names = [*schema["properties"]]
    names.sort(key=lambda name: (name in shared, name not in schema.get("required", ())))
    for name in names:
        described = schema["properties"][name]
        default = "required" if name in schema.get("required", ()) else _default(described)
        if name == "timeout" and described.get("type") == "string":
            meaning = "how long the call may take"
        else:
            meaning = shared.get(name) or meaning_of(kind, name)
        form = _takes(described, schema.get("$defs", defs or {}))
        rows.append(f"| `{name}` | {_cell(form)} | {_cell(default)} | {_cell(meaning)} |\n")
    return "".join(rows)


def _default(described: Mapping[str, Any]) -> str:
    default = described.get("default")
    if default in (None, "", [], {}):
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _takes(described: Mapping[str, Any], defs: Mapping[str, Any]) -> str:
    """The form of a value in words."""
    if described.get("title") == "Text" and "anyOf" in described:
        return "text, also by language"
    if "$ref" in described:
        name = described["$ref"].rpartition("/")[2]
        if "enum" in defs.get(name, {}):
            return _takes(defs[name], defs)
        return f"[{name}](#{name.lower()})"
    if "enum" in described:
        return ", ".join(f"`{value}`" for value in described["enum"])
    if "const" in described:
        return f"`{described['const']}`"
    forms = described.get("anyOf") or described.get("oneOf")
    if forms:
        return " or ".join(dict.fromkeys(_takes(form, defs) for form in forms if form.get("type") != "null"))
    match described.get("type"):
        case "array":
            return f"list of {_takes(described.get('items', {}), defs)}"
        case "object":
            inside = described.get("additionalProperties") or next(
                iter(described.get("patternProperties", {}).values()), None
            )
            return f"mapping to {_takes(inside, defs)}" if isinstance(inside, dict) else "mapping"
        case "string":
            return _text_form(described)
        case "integer" | "number" as kind:
            low, high = described.get("minimum"), described.get("maximum")
            bounds = f" from {low:,} to {high:,}" if low is not None and high is not None else ""
            return f"{'whole number' if kind == 'integer' else 'number'}{bounds}"
        case "boolean":
            return "`true` or `false`"
    return "anything"


def _text_form(described: Mapping[str, Any]) -> str:
    from flows.steps import STEP_ID

    if described.get("pattern") == STEP_ID:
        return "id"
    if described.get("format") == "date":
        return "date"
    most = described.get("maxLength")
    return f"text, up to {most:,} characters" if most else "text"


def meaning_of(kind: type[BaseModel], name: str) -> str:
    """What a key is for: the comment beside it, else the sentences of the docstrings that name it."""
    for owner in kind.__mro__:
        comment = _comments(owner).get(name) or _comments(owner).get(f"{name}_")
        if comment:
            return comment
    docs = [inspect.getdoc(owner) or "" for owner in kind.__mro__ if owner.__module__.startswith("flows")]
    docs.append(_parts(inspect.getdoc(inspect.getmodule(kind)) or "")[2])
    for doc in docs:
        told = [one for one in _sentences(doc) if re.search(rf"`{name}[`:]", one)]
        if told:
            return " ".join(told)
    if name == getattr(kind, "type", None):
        return "the main argument"
    return _COMMON.get(name, "")


def _sentences(doc: str) -> list[str]:
    """The sentences, and parts of sentences that begin with a key; what stands in `…` is not looked into."""
    parts = re.split(r"(`[^`]*`)", " ".join(doc.split()))
    held = parts[1::2]
    parts[1::2] = [f"\x00{number}\x00" for number in range(len(held))]
    split = re.split(r"(?<=[.;]) (?=[A-Z\x00])", "".join(parts))
    return [re.sub(r"\x00(\d+)\x00", lambda at: held[int(at[1])], one).rstrip(";") for one in split]


@cache
def _comments(owner: type) -> Mapping[str, str]:
    """The comments beside the fields of a class."""
    if not owner.__module__.startswith("flows"):
        return {}
    text = dedent(inspect.getsource(owner))
    source = text.splitlines()
    found: dict[str, str] = {}
    for node in getattr(ast.parse(text).body[0], "body", []):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            told = [_comment(line) for line in source[node.lineno - 1 : node.end_lineno]]
            found[node.target.id] = " ".join(filter(None, told))
    return found


def _comment(line: str) -> str:
    told = line.partition("  # ")[2] or (line.strip()[2:] if line.strip().startswith("# ") else "")
    return "" if told.startswith(("noqa", "type:")) else re.sub(r"^noqa: \S+ +", "", told)


def _inner(kind: type[BaseModel]) -> dict[str, type[BaseModel]]:
    """The models of mappings within a model, by name."""
    found: dict[str, type[BaseModel]] = {}
    modules = [inspect.getmodule(owner) for owner in kind.__mro__ if owner.__module__.startswith("flows")]
    known = {
        name: value
        for module in (*modules, *map(importlib.import_module, ("flows.contents", "flows.values")))
        for name, value in vars(module).items()
        if isinstance(value, type) and issubclass(value, BaseModel)
    }
    for name in kind.model_json_schema().get("$defs", {}):
        if name in known:
            found[name] = known[name]
    return found


# --- answers ----------------------------------------------------------------------------------------------------------


def answer_page(key: str, answer: Any) -> str:
    """The page of a typed answer: what it understands and gives, the keys that it takes, what is said when it does not
    fit."""
    from flows.words import WORDS

    head, example, tail = _parts(inspect.getdoc(inspect.getmodule(answer)) or "")
    told = re.sub(r"^`[^`]+`: ", "", head)
    out = [f"# Answer `{key}`\n\n{NOTE}\n{_capital(told)}\n"]
    out += [f"\n```yaml\n{example}```\n"] if example else []
    out += [f"\n{text}\n" for text in (tail, inspect.getdoc(type(answer)) or "") if text]
    needs = ", options: [{id: a, text: A}, {id: b, text: B}]" if "options" in answer.takes else ""
    needs += ", max: 10" if key == "rating" else ""
    out.append(f'\n```yaml\nquestion: {{ask: {key}, text: "…"{needs}, next: end}}\n```\n')
    if answer.takes:
        form = f" (`min` and `max` as {answer.bounds})" if answer.bounds else ""
        shown = ", ".join(f"`{one}`" for one in sorted(answer.takes))
        out.append(f"\nTakes the keys {shown}{form} besides those of [every question](../steps/ask.md).\n")
    out.append("\n## When it does not fit\n\n| reason | what is said | |\n|---|---|---|\n")
    for reason in answer.reasons:
        said = WORDS.get(f"invalid.{reason}", {})
        out.append(f"| `{reason}` | {_cell(str(said.get('it', '')))} | {_cell(str(said.get('en', '')))} |\n")
    out.append("\nIn place of these, `errors: {reason: text}` or `invalid: text` of the step.\n")
    return "".join(out)


# --- filters, tests, functions ----------------------------------------------------------------------------------------


def filters_page() -> str:
    """All filters of templates, by family."""
    from flows import filters

    out = [f"# Filters\n\n{NOTE}\n", _told(inspect.getdoc(filters) or ""), "\n"]
    meanings = filter_meanings()
    for title, family in (
        ("Text", filters.TEXTS),
        ("Numbers and money", filters.NUMBERS),
        ("Days and hours", filters.DATES),
        ("Lists", filters.LISTS),
    ):
        out.append(f"\n## {title}\n\n| filter | arguments | what it does |\n|---|---|---|\n")
        for name, apply in family.items():
            parameters = [*inspect.signature(apply).parameters.values()][2:]
            given = ", ".join(one.name if one.default is one.empty else f"[{one.name}]" for one in parameters)
            out.append(f"| `{name}` | {given} | {_cell(meanings.get(name, ''))} |\n")
    return "".join(out)


def filter_meanings() -> dict[str, str]:
    """What each filter does: the comment beside its name, else its docstring."""
    from flows import filters

    source = inspect.getsource(filters)
    found = {
        name: comment for name, comment in re.findall(r'^    "(\w+)": .*?  # (.*)$', source, re.MULTILINE)
    }
    for name, apply in filters.FILTERS.items():
        if name not in found and apply.__doc__:
            found[name] = apply.__doc__
    return found


def _told(doc: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in doc.split("\n\n"))


def matchers_page() -> str:
    """All tests of `route` and `listen`."""
    from flows import matchers

    out = [
        f"# Tests of answers\n\n{NOTE}\n",
        "What the rules of [`route`](steps/route.md) and [`listen`](steps/listen.md) ask of a value, and of the "
        "[expressions](functions.md) of imported flows.\n\n",
        "| test | in words | takes | what fits |\n|---|---|---|---|\n",
    ]
    for key, matcher in matchers.registry().items():
        label = f"{matcher.label['it']} / {matcher.label['en']}"
        out.append(f"| `{key}` | {_cell(label)} | {matcher.needs} | {_cell(matcher.test.__doc__ or '')} |\n")
    return "".join(out)


def functions_page() -> str:
    """All functions of RapidPro's expression language, by family."""
    from flows.excellent import functions

    out = [
        f"# Functions of expressions\n\n{NOTE}\n",
        "For flows with `expressions: excellent`, which is how [imported flows](../../howto/import.md) are written: "
        "`@(upper(results.name))`. Besides these every [test](tests.md) is a function. Arguments in brackets may be "
        "missing, `*` stands for any number.\n",
    ]
    for module, told in _function_modules(functions):
        rows = [row for row in told if row[0] in functions.registry()]
        if rows:
            title = _told(inspect.getdoc(module) or "").partition(". ")[0].rstrip(".")
            out.append(f"\n## {title}\n\n| function | arguments | what it gives |\n|---|---|---|\n")
            out += [f"| `{name}` | {_cell(given)} | {_cell(doc)} |\n" for name, given, doc in rows]
    return "".join(out)


def _function_modules(package: Any) -> Iterator[tuple[Any, list[tuple[str, str, str]]]]:
    """Each family of functions: (module, [(name, arguments, docstring)]), in the order of the files."""
    package.registry()
    for path in sorted(Path(package.__path__[0]).glob("*.py")):
        module = importlib.import_module(f"{package.__name__}.{path.stem}".removesuffix(".__init__"))
        rows: list[tuple[str, str, str]] = []
        for node in ast.parse(path.read_text()).body:
            if not isinstance(node, ast.FunctionDef):
                continue
            for call in node.decorator_list:
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "function" and call.args:
                    named = next((one.value for one in call.keywords if one.arg == "name"), None)
                    name = ast.literal_eval(named) if named is not None else node.name.rstrip("_")
                    rows.append((name, _arguments(node, call), ast.get_docstring(node) or ""))
        yield module, rows


def _arguments(node: ast.FunctionDef, call: ast.Call) -> str:
    """`text, count, [delimiters]`: the parameters' names in the form of the signature."""
    kinds = [part.strip() for part in str(ast.literal_eval(call.args[0])).split(",") if part.strip()]
    names = [argument.arg for argument in node.args.args[1:]]
    names += [node.args.vararg.arg] if node.args.vararg else []
    shown = []
    for kind, name in zip(kinds, names, strict=False):
        shown.append(f"[{name}]" if kind.startswith("[") else f"{name}\\*" if kind.endswith("*") else name)
    return ", ".join(shown)


def index_page() -> str:
    """What there is, with one sentence each."""
    from flows import answers, steps, triggers

    out = [
        f"# What a flow is made of\n\n{NOTE}\n",
        "How to write one is told in [write a flow](../../howto/write-a-flow.md); here is everything there is.\n",
    ]
    for title, folder, registry in (
        ("Steps", "steps", steps.registry()),
        ("Answers that `ask` understands", "answers", answers.registry()),
        ("Triggers", "triggers", triggers.registry()),
    ):
        out.append(f"\n## {title}\n\n")
        for key, one in sorted(registry.items()):
            out.append(f"- [`{key}`]({folder}/{key}.md): {first_sentence(one)}\n")
    out.append(
        "\n## In texts and rules\n\n- [filters](filters.md) of `{{ … }}`\n- [tests](tests.md) of `route` and `listen`\n"
        "- [functions](functions.md) of the expressions of imported flows\n"
    )
    return "".join(out)
