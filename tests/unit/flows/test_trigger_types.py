"""Trigger types: what each means, as tables; when schedules are due; what inspection says of them."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from domain.contacts import ContactView
from domain.effects import Effect, RecordConsent, RecordFeedback
from domain.events import Referral, TimerDue
from domain.messages import Tap
from flows import changes, compiler, dialogues, document, engine, inspection, starting
from flows.business import sample
from flows.document import DocumentRejected
from flows.triggers import Occasion, Trigger, read_trigger, registry
from flows.triggers.keyword import alike
from flows.triggers.schedule import ScheduleTrigger
from flows.yaml_reader import read
from tests.unit.flows.conftest import make_flow, said

STEPS = {"a": {"send": "x", "next": "end"}}
ROME = ZoneInfo("Europe/Rome")


def flow(*triggers: Any, key: str = "x", **more: Any) -> Any:
    return make_flow(STEPS, key=key, triggers=list(triggers), **more)


def hears(trigger: Any, words: str, **more: Any) -> Any:
    """What a trigger makes of a message: None, or (value, variables)."""
    event = said(words, deep_link=more.pop("deep_link", None))
    occasion = starting.heard(event, first_message=False)
    fit = read_trigger(trigger).fits(occasion)
    return None if fit is None else (fit.value, dict(fit.variables))


# --- documentation


@pytest.mark.parametrize("key", sorted(registry()))
def test_every_type_has_an_example_that_loads(key: str) -> None:
    """The module's docstring begins with the key in one sentence and holds YAML of that type."""
    module = __import__(registry()[key].__module__, fromlist=["x"])
    text = module.__doc__ or ""
    assert text.startswith(f"`{key}`: ")
    [example] = re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)
    triggers = read(example, name=key).data
    assert triggers
    for data in triggers:
        made = read_trigger(data)
        assert made.type == key
        assert registry()[key].model_validate(made.model_dump(mode="json", by_alias=True)) == made


@pytest.mark.parametrize("key", sorted(registry()))
def test_every_type_stands_in_the_howto(key: str) -> None:
    from pathlib import Path

    howto = (Path(__file__).parents[3] / "docs/howto/write-a-flow.md").read_text()
    assert f"`{key}" in howto


# --- keywords


@pytest.mark.parametrize(
    ("keyword", "words", "same"),
    [
        ("ciao", "ciao", True),
        ("ciao", "caio", True),  # neighbours changed over
        ("ciao", "cia", True),
        ("ciao", "ciaoo", True),
        ("ciao", "ciaooo", False),
        ("ciao", "miao", True),
        ("ciao", "mia", False),
        ("no", "ni", False),  # too short for slips
        ("sì", "si", False),
        ("prezzi", "prezi", True),
        ("prezzi", "perzi", False),
        ("prenotazione", "prenotaizone", True),
        ("prenotazione", "prenotzone", True),
        ("prenotazione", "prenotzon", False),
        ("prenotazione", "renotazion", True),
        ("appuntamento", "apuntameto", True),
        ("appuntamento", "appuntamenti domani", False),
        ("città", "citta", True),
        ("orari", "orario", True),
        ("orari", "order", False),
        ("hello", "helo", True),
        ("hello", "hallo", True),
        ("hello", "yellow", False),
        ("catalogo", "catlogoo", True),
        ("catalogo", "", False),
        ("abcdefgh", "bacdefhg", True),
        ("abcdefgh", "bacdfehg", False),
    ],
)
def test_fuzzy(keyword: str, words: str, same: bool) -> None:
    """One slip in 4 to 7 letters, two in more; nothing in less."""
    assert alike(keyword, words) is same
    assert alike(words, keyword) is same or len(words) != len(keyword)


@pytest.mark.parametrize(
    ("trigger", "words", "found"),
    [
        ({"keyword": "info"}, "Info!", ("info", {})),
        ({"keyword": "info"}, "info prezzi", None),
        ({"keyword": "info", "match": "prefix"}, "Info, prezzi?", ("info", {"rest": "prezzi"})),
        ({"keyword": "info", "match": "prefix"}, "information", None),
        ({"keyword": "info", "match": "prefix"}, "vorrei info", None),
        ({"keyword": "info", "match": "prefix"}, "¡info!", ("info", {"rest": ""})),
        ({"keyword": "info", "match": "contains"}, "vorrei INFO sui corsi", ("info", {"rest": "vorrei sui corsi"})),
        ({"keyword": "info", "match": "contains"}, "reinfor­zo", None),
        ({"keyword": "c++", "match": "contains"}, "un corso c++?", ("c++", {"rest": "un corso"})),
        ({"keyword": "orari", "match": "fuzzy"}, "orrari", ("orari", {})),
        ({"keyword": "ord(?P<n>[0-9]{4})", "match": "regex"}, "il mio ord4711", ("ord4711", {"n": "4711"})),
        ({"keyword": "^ciao$", "match": "regex"}, "Ciao", None),
        ({"keyword": "(?i)^ciao$", "match": "regex"}, "Ciao", ("Ciao", {})),
        ({"keyword": {"it": "prezzi", "en": ["prices", "price"]}}, "price", ("price", {})),
    ],
)  # fmt: skip
def test_ways_of_matching(trigger: Any, words: str, found: Any) -> None:
    assert hears(trigger, words) == found


def test_the_language_of_a_word() -> None:
    """Words by language: who has none is spoken to in that of the word."""
    doors = starting.Doors([flow({"keyword": {"it": ["prezzi"], "en": ["prices"]}})], "telegram")
    for words, language in (("prezzi", "it"), ("prices", "en")):
        match = doors.find(starting.heard(said(words), first_message=False), session_waiting=False)
        assert match is not None
        assert match.language == language


def test_a_message_of_any_length_takes_no_time() -> None:
    """Hundreds of fuzzy and contained words against a letter."""
    import time

    words = [f"parola numero {n}" for n in range(100)]
    doors = starting.Doors(
        [flow({"keyword": words, "match": kind}) for kind in ("fuzzy", "contains", "prefix")] * 5, "telegram"
    )
    began = time.process_time()
    assert (
        doors.find(starting.heard(said("parola " * 5_000), first_message=False), session_waiting=False)
        is None
    )
    assert time.process_time() - began < 0.25  # seconds


@pytest.mark.parametrize(
    ("trigger", "what"),
    [
        ({"keyword": ["(a"], "match": "regex"}, "not a pattern"),
        ({"keyword": ["(?=a)"], "match": "regex"}, "not a pattern"),
        ({"keyword": list("abcdef"), "match": "regex"}, "at most 5 patterns"),
        ({"keyword": ["!!"]}, "needs a letter"),
        ({"keyword": []}, "names no word"),
        ({"keyword": {"italiano": ["x"]}}, "not a language code"),
        ({"keyword": "x", "match": "nearly"}, "must be 'exact'"),
        ({"keyword": "x", "priority": 101}, "less than or equal"),
        ({"tag_added": []}, "at least 1"),
        ({"schedule": "daily"}, "is missing"),
        ({"schedule": "daily", "at": "9:00"}, "must be an id|pattern"),
        ({"schedule": "weekly", "at": "09:00"}, "needs on"),
        ({"schedule": "weekly", "at": "09:00", "on": ["someday"]}, "days of the week"),
        ({"schedule": "monthly", "at": "09:00", "on": [32]}, "days of the month"),
        ({"schedule": "once", "at": "09:00", "on": ["2026-02-30"]}, "dates such as"),
        ({"schedule": "daily", "at": "09:00", "on": ["mon"]}, "every day"),
        (
            {"schedule": "daily", "at": "09:00", "when": {"subject": "session.x", "op": "is_set"}},
            "only contact",
        ),
        ({"schedule": "daily", "at": "09:00", "when": {"op": "is_set"}}, "subject"),
        ({"no_answer": "soon"}, "a number and a unit"),
        ({"feedback": "nps", "stage": "x"}, "found feedback and stage"),
        ({"nothing": 1}, "a trigger is one of"),
        (12, "a trigger is a mapping"),
    ],
)
def test_faults_have_their_line(trigger: Any, what: str) -> None:
    """Whatever is wrong with a trigger is said with its place."""
    import json

    text = f"flow: x\nstart: a\ntriggers:\n- first_message\n- {json.dumps(trigger)}\nsteps: {{a: {{end: true}}}}\n"
    with pytest.raises(DocumentRejected) as caught:
        document.load(text, "x.yaml")
    assert {problem.line for problem in caught.value.problems} == {5}
    assert re.search(what, str(caught.value)), str(caught.value)


def test_many_patterns_are_refused_at_once() -> None:
    text = (
        "flow: x\nstart: a\ntriggers:\n" + "- {keyword: a, match: regex}\n" * 6 + "steps: {a: {end: true}}\n"
    )
    with pytest.raises(DocumentRejected, match="at most 5 triggers by regular expression"):
        document.load(text, "x.yaml")


# --- who wins


ALL = [
    flow("fallback", key="else"),
    flow("first_message", key="first"),
    flow({"keyword": "info", "match": "contains"}, key="contains"),
    flow({"keyword": "info", "match": "fuzzy", "priority": 1}, key="urgent"),
    flow({"keyword": "info"}, key="exact"),
    flow({"campaign_reply": "*"}, key="reply"),
    flow("referral", key="ad"),
    flow({"deep_link": "*"}, key="link"),
    flow({"deep_link": "promo"}, key="promo"),
]


@pytest.mark.parametrize(
    ("words", "more", "key"),
    [
        ("info", {}, "urgent"),
        ("infoo", {}, "urgent"),
        ("le info", {}, "contains"),
        ("le info", {"campaign": ("Saldi",)}, "contains"),
        ("boh", {"campaign": ("Saldi",), "first": True}, "reply"),
        ("boh", {"first": True}, "first"),
        ("boh", {}, "else"),
        ("info", {"referral": Referral("ad", "1202")}, "ad"),
        ("info", {"deep_link": "x", "referral": Referral("ad", "1202")}, "link"),
        ("/start promo", {"deep_link": "promo", "start": True}, "promo"),
        ("/start", {"start": True}, "first"),
    ],
)
def test_who_wins(words: str, more: Any, key: str) -> None:
    """The table of the howto: link, advertisement, keyword by priority and precision, reply, first, else."""
    occasion = Occasion(kind="message", text=words, words=words, value=0, **more)
    match = starting.Doors(ALL, "telegram").find(occasion, session_waiting=False)
    assert match is not None
    assert match.flow.key == key


def test_the_order_of_flows_decides_between_equals() -> None:
    doors = starting.Doors([flow({"keyword": "a"}, key="one"), flow({"keyword": "a"}, key="two")], "telegram")
    match = doors.find(starting.heard(said("a"), first_message=False), session_waiting=False)
    assert match is not None
    assert match.flow.key == "one"


def test_what_a_referral_brings() -> None:
    event = said("ciao")
    occasion = Occasion(
        kind="message", text="ciao", referral=Referral("ad", "120210", click_id="c", headline="Saldi")
    )
    trigger = read_trigger({"referral": "1202*"})
    fit = trigger.fits(occasion)
    assert fit is not None
    assert fit.variables == {"click_id": "c", "headline": "Saldi"}
    assert read_trigger({"referral": "9*"}).fits(occasion) is None
    assert read_trigger("referral").fits(starting.heard(event, first_message=True)) is None


@pytest.mark.parametrize(
    ("trigger", "occasion", "fits"),
    [
        ({"tag_added": "vip"}, Occasion(kind="tag_added", what="VIP"), True),
        ({"tag_added": "segment-*"}, Occasion(kind="tag_added", what="segment-a"), True),
        ({"tag_removed": "vip"}, Occasion(kind="tag_removed", what="other"), False),
        ({"field_changed": "age", "to": 30}, Occasion(kind="field_changed", what="age", value="30"), True),
        ({"field_changed": "age", "to": [1, 2]}, Occasion(kind="field_changed", what="age", value=3), False),
        ({"field_changed": "age"}, Occasion(kind="field_changed", what="age"), True),
        ({"stage": "won"}, Occasion(kind="field_changed", what="stage", value="won"), True),
        ({"stage": "won"}, Occasion(kind="field_changed", what="stage", value="lost"), False),
        ({"stage": "*"}, Occasion(kind="field_changed", what="city", value="won"), False),
        ({"consent_withdrawn": "news"}, Occasion(kind="consent_withdrawn", what="*"), True),
        ({"consent_withdrawn": "news"}, Occasion(kind="consent_withdrawn", what="offers"), False),
        ({"consent_given": "news"}, Occasion(kind="consent_given", what="news"), True),
        ({"feedback": "nps", "below": 7}, Occasion(kind="feedback", what="nps", value=6), True),
        ({"feedback": "nps", "below": 7}, Occasion(kind="feedback", what="nps", value=7), False),
        ({"feedback": "*", "above": 8}, Occasion(kind="feedback", what="nps", value=9), True),
        ({"feedback": "delivery"}, Occasion(kind="feedback", what="csat", value=1, data={"topic": "delivery"}), True),
        ({"event": "order_*"}, Occasion(kind="event", what="order_paid"), True),
        ({"joins": "@shop"}, Occasion(kind="joined", what="Shop", data={"address": "@shop"}), True),
        ("joins", Occasion(kind="joined", what="Shop"), True),
        ({"campaign_click": "cmp_1"}, Occasion(kind="campaign_click", what="X", data={"campaign_id": "cmp_1"}), True),
        ({"no_answer": "1 day"}, Occasion(kind="no_answer", value=""), True),
        ({"no_answer": "1 day", "question": True}, Occasion(kind="no_answer", value=""), False),
        ({"no_answer": "1 day", "question": True}, Occasion(kind="no_answer", value="answer"), True),
        ({"no_answer": "1 day"}, Occasion(kind="no_answer", value="wait"), False),
        ({"no_answer": "1 day", "interrupts": True}, Occasion(kind="no_answer", value="wait"), True),
        ({"campaign_reply": "*", "within": "1 day"}, Occasion(kind="message", campaign=("S",), value=9e7), False),
    ],
)  # fmt: skip
def test_what_is_no_message(trigger: Any, occasion: Occasion, fits: bool) -> None:
    assert (read_trigger(trigger).fits(occasion) is not None) is fits


# --- changes


def test_what_a_turn_changed() -> None:
    """Tags and fields by their difference; consent when it counts; scores; a comment is no second score."""
    before = ContactView(tags={"a", "b"}, fields={"x": 1, "y": 2}, consents={"news": "granted"})
    after = ContactView(tags={"b", "c"}, fields={"x": 1, "z": 3}, email="anna@example.com")
    effects: list[Effect] = [
        RecordConsent("offers", "granted", "w", "1", "it", "s", double_opt_in=True),
        RecordConsent("offers", "confirmed", "w", "1", "it", "s"),
        RecordConsent("news", "denied", "w", "1", "it", "s"),
        RecordConsent("other", "denied", "w", "1", "it", "s"),
        RecordFeedback("s", "nps", 9, "shop"),
        RecordFeedback("s", "nps", 9, "shop", comment="bello"),
    ]
    found = [(one.kind, one.what, one.value) for one in changes.of_turn(before, after, effects)]
    assert found == [
        ("tag_added", "c", None),
        ("tag_removed", "a", None),
        ("field_changed", "email", "anna@example.com"),
        ("field_changed", "y", None),
        ("field_changed", "z", 3),
        ("consent_given", "offers", "confirmed"),
        ("consent_withdrawn", "news", "denied"),
        ("feedback", "nps", 9),
    ]
    assert changes.opted_out(before)
    assert not changes.opted_out(ContactView(consents={"news": "denied"}))


def test_a_timer_of_another_version_is_none_of_ours() -> None:
    """Same step, same visit, another version: nothing happens."""
    asks = make_flow({"a": {"ask": "text", "text": "?", "timeout": {"after": "1 hour", "goto": "b"}, "next": "end"},
                      "b": {"send": "gone", "next": "end"}})  # fmt: skip
    given: Any = {
        "contact": ContactView(),
        "now": 0,
        "seed": 1,
        "channel_kind": "telegram",
        "business": sample(),
    }
    state = engine.start(asks, **given).state
    for version, handled in ((asks.version, True), (asks.version + 1, False), (0, True)):
        due = TimerDue(
            key="t", timer_id=1, conversation_id=1, session_id=1, step_id="a", visit=state.visit, purpose="answer",
            version=version,
        )  # fmt: skip
        assert engine.advance(asks, state, due, **given).handled is handled


# --- schedules


def schedule(**data: Any) -> ScheduleTrigger:
    made: Trigger = read_trigger({"at": "09:00", **data})
    assert isinstance(made, ScheduleTrigger)
    return made


@pytest.mark.parametrize(
    ("data", "after", "dates"),
    [
        ({"schedule": "daily"}, "2026-12-30", ["2026-12-31", "2027-01-01"]),
        ({"schedule": "daily", "every": 3, "from": "2026-12-01"}, "2026-12-01", ["2026-12-04", "2026-12-07"]),
        ({"schedule": "weekly", "on": ["mon", "giovedì"]}, "2026-12-07", ["2026-12-10", "2026-12-14"]),
        ({"schedule": "weekly", "on": "sun", "every": 2, "from": "2026-12-01"}, "2026-12-06", ["2026-12-20"]),
        ({"schedule": "monthly", "on": [1, 15, "last"]}, "2027-02-01", ["2027-02-15", "2027-02-28", "2027-03-01"]),
        ({"schedule": "monthly", "on": 31}, "2027-01-31", ["2027-03-31", "2027-05-31"]),
        ({"schedule": "monthly", "on": 29, "every": 12, "from": "2028-02-01"}, "2028-02-29", ["2032-02-29"]),
        ({"schedule": "once", "on": ["2026-12-24", "2027-01-06"]}, "2026-12-24", ["2027-01-06", None]),
        ({"schedule": "daily", "until": "2026-12-25"}, "2026-12-24", ["2026-12-25", None]),
    ],
)  # fmt: skip
def test_dates(data: Any, after: str, dates: list[str | None]) -> None:
    """Days, weeks and months from the first date (or from 1970) on; months that lack a day are left out."""
    made = schedule(**data)
    day: date | None = date.fromisoformat(after)
    for expected in dates:
        assert day is not None
        day = made.date_after(day)
        assert (day.isoformat() if day else None) == expected


@pytest.mark.parametrize(
    ("day", "at", "utc"),
    [
        ("2026-12-05", "09:00", "2026-12-05T08:00"),
        ("2026-07-05", "09:00", "2026-07-05T07:00"),
        ("2026-03-29", "02:30", "2026-03-29T01:30"),  # skipped: the hour after
        ("2026-10-25", "02:30", "2026-10-25T00:30"),  # twice: the first
    ],
)
def test_summer_time(day: str, at: str, utc: str) -> None:
    made = schedule(schedule="daily", at=at)
    moment = made.moment(date.fromisoformat(day), ROME) / 1_000
    assert datetime.fromtimestamp(moment, UTC).isoformat(timespec="minutes") == f"{utc}+00:00"


def test_a_date_begins_where_it_comes_first() -> None:
    """9 o'clock of each person: the date begins 14 hours before 9 UTC, and no place on earth has it earlier."""
    made = schedule(schedule="daily", zone="contact")
    day = date(2026, 12, 5)
    assert made.begins(day, ROME) <= made.moment(day, ZoneInfo("Pacific/Kiritimati"))
    assert made.begins(day, ROME) == made.moment(day, ZoneInfo("UTC")) - 14 * 3_600_000


# --- inspection


def codes(made: Any, *others: Any) -> list[tuple[str, str]]:
    beside = {one.key: one for one in (made, *others)}
    found = inspection.check(made, beside, business=sample(), beside=beside)
    return [(one.severity, one.code) for one in found]


TAGS = {"a": {"tag": ["vip"], "next": "end"}}


@pytest.mark.parametrize(
    ("made", "others", "code"),
    [
        (flow({"keyword": ["ciao", "STOP"]}), [], ("error", "reserved_word")),
        (flow({"keyword": "a", "match": "contains", "interrupts": True}), [], ("warning", "greedy_trigger")),
        (flow({"first_message": True, "interrupts": True}), [], ("warning", "never_interrupts")),
        (flow({"keyword": "Ciao!"}), [flow({"keyword": ["ciao"]}, key="y")], ("warning", "trigger_collides")),
        (flow("fallback"), [flow("fallback", key="y")], ("warning", "trigger_collides")),
        (flow({"keyword": "a"}, {"keyword": ["b", "a"]}), [], ("warning", "trigger_collides")),
        (make_flow(TAGS, triggers=[{"tag_added": "v*"}]), [], ("warning", "flows_start_one_another")),
        (flow({"schedule": "daily", "at": "09:00", "purpose": "nothing"}), [], ("error", "unknown_purpose")),
        (
            make_flow({"a": {"send": "x", "marketing": "marketing", "next": "end"}},
                      triggers=[{"consent_withdrawn": "*"}]),
            [],
            ("error", "marketing_after_withdrawal"),
        ),
    ],
)  # fmt: skip
def test_inspection(made: Any, others: list[Any], code: tuple[str, str]) -> None:
    found = codes(made, *others)
    assert code in found
    texts = inspection.check(made, {}, business=sample(), beside={one.key: one for one in others})
    assert all(one.text["it"] and one.remedy["en"] and one.line for one in texts)


@pytest.mark.parametrize(
    ("made", "other"),
    [
        (flow({"keyword": "a"}), flow({"keyword": "a", "priority": 1}, key="y")),
        (
            flow({"keyword": "a", "channels": "telegram"}),
            flow({"keyword": "a", "channels": "whatsapp"}, key="y"),
        ),
        (flow({"keyword": "a"}), flow({"keyword": "a", "match": "prefix"}, key="y")),
        (flow({"tag_added": "a"}), flow({"tag_removed": "a"}, key="y")),
        (flow({"field_changed": "a", "to": 1}), flow({"field_changed": "a", "to": 2}, key="y")),
        (flow({"keyword": "a"}), flow({"keyword": "a"})),  # its own former version
    ],
)
def test_no_collision_where_something_decides(made: Any, other: Any) -> None:
    assert codes(made, other) == []


def test_circles_over_two_flows_are_found() -> None:
    """A tags, B hears it and changes a field that A hears."""
    one = make_flow(TAGS, key="one", triggers=[{"field_changed": "city"}])
    two = make_flow({"a": {"set": {"contact.fields.city": "Roma"}, "next": "end"}}, key="two",
                    triggers=[{"tag_added": "vip"}])  # fmt: skip
    assert ("warning", "flows_start_one_another") in codes(one, two)
    assert ("warning", "flows_start_one_another") in codes(two, one)
    assert codes(one) == []


# --- dialogues

MEMBER = {"subject": "contact.tags", "op": "has_tag", "value": "member"}
TALK = """
flow: vip
dialogues:
  a tag:
    - tag_added: vip
    - bot: Benvenuta nel club vip!
    - expect: {ended: true, contact.tags: [vip]}
  a field, a score, an event, a date:
    - field_changed: {city: Roma}
    - bot: Roma
    - feedback: {nps: 3}
    - bot: Ci dispiace
    - event: {order_paid: {order: "4711"}}
    - bot: Ordine 4711
    - joins: Bottega
    - bot: Ciao da Bottega
    - consent_withdrawn: marketing
    - bot: Come mai?
    - expect: {consent.marketing: withdrawn}
  a date:
    - schedule: 2026-12-05
    - expect: {bot_messages: 0}
    - tag_added: member
    - schedule: 2026-12-05
    - bot: Novità del 2026-12-05
  silence:
    - user: domanda
    - bot: Quanti anni hai?
    - after: 3 hours
    - bot: Ci sei?
    - after: 3 days
    - expect: {bot_messages: 0}
"""


def test_dialogues_play_what_is_no_message() -> None:
    """Tags, fields, scores, events, joins, consent, silence: one line each."""
    source = {
        "vip": ({"tag_added": "vip"}, "Benvenuta nel club {{ session.tag }}!"),
        "city": ({"field_changed": "city"}, "{{ session.value }}"),
        "sorry": ({"feedback": "nps", "below": 7}, "Ci dispiace"),
        "order": ({"event": "order_*"}, "Ordine {{ session.order }}"),
        "joined": ("joins", "Ciao da {{ session.outlet }}"),
        "why": ({"consent_withdrawn": "marketing"}, "Come mai?"),
        "news": (
            {
                "schedule": "daily",
                "at": "09:00",
                "when": {"subject": "contact.tags", "op": "has_tag", "value": "member"},
            },
            "Novità del {{ session.date }}",
        ),
        "remind": ({"no_answer": "2 hours", "question": True}, "Ci sei?"),
    }
    flows = [
        make_flow({"a": {"send": words, "next": "end"}}, key=key, triggers=[trigger])
        for key, (trigger, words) in source.items()
    ]
    asks = {"a": {"ask": "number", "text": "Quanti anni hai?", "next": "end"}}
    flows.append(make_flow(asks, key="asks", triggers=[{"keyword": "domanda"}]))
    results = dialogues.run(TALK, "vip.test.yaml", flows)
    assert [str(result) for result in results if not result.passed] == []
    assert len(results) == 4


def test_a_rehearsal_of_flows_without_end_ends() -> None:
    one = make_flow(
        {"a": {"tag": ["b"], "remove": ["a"], "next": "end"}}, key="one", triggers=[{"tag_added": "a"}]
    )
    two = make_flow(
        {"a": {"tag": ["a"], "remove": ["b"], "next": "end"}}, key="two", triggers=[{"tag_added": "b"}]
    )
    [result] = dialogues.run(
        "flow: one\ndialogue:\n  - tag_added: a\n  - expect: {ended: true}\n", "x", [one, two]
    )
    assert result.passed, result


def test_taps_and_the_compiler_know_them() -> None:
    """A tap is heard by its title; a compiled flow has its triggers as they were written."""
    made = compiler.compile(
        document.load("flow: x\nstart: a\ntriggers: [{keyword: ciao}, joins]\nsteps: {a: {end: true}}", "x"),
        1,
    )
    assert [one.kind for one in made.document.triggers] == ["keyword", "joins"]
    doors = starting.Doors([made], "telegram")
    assert doors.find(starting.heard(said(Tap("x", "Ciao!")), first_message=False), session_waiting=False)
