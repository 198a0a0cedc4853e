"""Calls in flows: documents that are refused, the player's and the dialogues' way with them, what inspection finds."""

from __future__ import annotations

import json
from typing import Any

import pytest

from domain.errors import RejectedInput
from flows import compiler, dialogues, document, inspection, player
from flows.document import DocumentRejected
from flows.versions import CompiledFlow

FLOW = """
flow: orders
languages: [en]
triggers: [{keyword: [order]}]
start: number
steps:
  number: {ask: text, text: Which order?, save: session.number, next: look_up}
  look_up:
    http: https://shop.example.com/orders/{{ session.number }}
    method: POST
    headers: {Authorization: {secret: shop_key, prefix: "Bearer "}, Accept: text/plain}
    query: {key: {secret: maps_key}, lang: en}
    body: {number: "{{ session.number }}", twice: [1, "{{ session.number }}"]}
    save: {status: session.status}
    result: order
    on: {404: missing}
    error: later
    next: found
  found: {send: "It is {{ session.status }}", next: more}
  more: {ask: text, text: Anything else?, save: session.more, next: end}
  missing: {send: No such order, next: end}
  later: {send: Later, next: end}
"""


def flow(text: str = FLOW) -> CompiledFlow:
    return compiler.compile(document.load(text, "orders"), 1)


def step(**fields: Any) -> str:
    return json.dumps({"flow": "f", "start": "a", "steps": {"a": fields}})


# --- documents


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"http": "https://{{ session.host }}/x"}, "server's name"),
        ({"http": "https://shop.example.com{{ session.rest }}"}, "server's name"),
        ({"http": "https://shop.example.com@evil.example.com/"}, "server's name"),
        ({"http": "{{ session.url }}........"}, "server's name"),
        ({"http": "ftp://shop.example.com/"}, "server's name"),
        ({"http": "https://s.example.com/", "method": "TRACE"}, "GET"),
        ({"http": "https://s.example.com/", "method": "GET", "body": "x"}, "sends no body"),
        ({"http": "https://s.example.com/", "body": "x", "form": {"a": "b"}}, "cannot both"),
        ({"http": "https://s.example.com/", "headers": {"Host": "x"}}, "not a header"),
        ({"http": "https://s.example.com/", "headers": {"Cookie": "x"}}, "not a header"),
        ({"http": "https://s.example.com/", "headers": {"Idempotency-Key": "x"}}, "not a header"),
        ({"http": "https://s.example.com/", "headers": {"X\nY": "x"}}, "not a header"),
        ({"http": "https://s.example.com/", "headers": {"X": {"secret": "{{ session.name }}"}}}, ""),
        ({"http": "https://s.example.com/", "headers": {"X": {"secret": "a", "value": "b"}}}, ""),
        ({"http": "https://s.example.com/", "timeout": "16 seconds"}, "1 to 15 seconds"),
        ({"http": "https://s.example.com/", "timeout": "2 days"}, "1 to 15 seconds"),
        ({"http": "https://s.example.com/", "on": {"999": "end"}}, "not a status"),
        ({"http": "https://s.example.com/", "on": {"4": "end"}}, "not a status"),
        ({"http": "https://s.example.com/", "save": {"a..b": "session.a"}}, "way into an answer"),
        ({"http": "https://s.example.com/", "save": {"a": "contact.id"}}, "cannot be written"),
        ({"http": "https://s.example.com/", "body": {"a": "{{ secret.shop_key }}"}}, "leads nowhere"),
        ({"http": "https://s.example.com/", "body": {"a": ["x"] * 201}}, "at most 200 values"),
        ({"ai": "Help", "question": "Hi", "max_tokens": 100_000}, "2000"),
        ({"ai": "Help", "question": "Hi", "timeout": "1 minute"}, "1 to 15 seconds"),
    ],
)
def test_what_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(DocumentRejected) as refused:
        compiler.compile(document.load(step(**fields), "f"), 1)
    assert said in str(refused.value)


def test_what_a_person_writes_stays_in_its_place() -> None:
    """In the address, the headers and the body: it cannot begin another part of any of them."""
    text = """
flow: f
start: a
steps:
  a: {ask: text, text: Say, save: session.said, next: b}
  b:
    http: https://shop.example.com/x/{{ session.said }}?a={{ session.said }}
    headers: {X-Said: "{{ session.said }}"}
    form: {said: "{{ session.said }}"}
    error: end
    next: end
"""
    hostile = '../../admin?x=1#&y=2\r\nX-Evil: 1\r\n\r\n"}'
    _, out = player.play([flow(text)], [{"text": hostile}])
    call = out["http"]
    path, _, query = call["url"].removeprefix("https://shop.example.com/x/").partition("?")
    assert not set(path) & set("/?#&\r\n ")
    assert not set(query.removeprefix("a=")) & set("/?#&=\r\n ")
    assert "\r" not in call["headers"]["X-Said"]
    assert "\n" not in call["headers"]["X-Said"]
    assert not set(call["body"].removeprefix("said=")) & set("&=\r\n ")


# --- the player


def test_the_player_shows_a_call_and_takes_its_answer() -> None:
    """DESIGN 8: `{method, url, headers, body}` out, `{status, body}` in; secrets by their names."""
    first, asked, answered = player.play(
        [flow()], ['{"text": "12"}', '{"http": {"status": 200, "body": "{\\"status\\": \\"sent\\"}"}}']
    )
    assert first["http"] is None
    assert asked["http"] == {
        "method": "POST",
        "url": "https://shop.example.com/orders/12?lang=en&key=maps_key",
        "headers": {
            "Accept": "text/plain",
            "Content-Type": "application/json",
            "Authorization": "Bearer shop_key",
        },
        "body": '{"number":"12","twice":[1,"12"]}',
    }
    assert (asked["waiting"], asked["messages"], asked["ended"]) == (True, [], False)
    assert answered["http"] is None
    assert [message["text"] for message in answered["messages"]] == ["It is sent", "Anything else?"]
    order = answered["session"]["results"]["order"]
    assert (order["value"], order["category"]) == (200, "Success")
    assert order["input"] == "POST https://shop.example.com/orders/12"


def test_the_player_holds_what_is_written_before_the_answer() -> None:
    """As the runtime does; and an answer with a JSON body may be given as it is."""
    *_, waiting, answered = player.play(
        [flow()],
        [{"text": "12"}, {"text": "no, thanks"}, {"http": {"status": 200, "body": {"status": "sent"}}}],
    )
    assert waiting["messages"] == []
    assert waiting["http"] is not None
    assert answered["session"]["variables"]["more"] == "no, thanks"
    assert answered["ended"]


@pytest.mark.parametrize(
    "given", [{"status": 200}, {"status": "200"}, {"status": 42}, {"status": True}, "x", {"code": 200}]
)
def test_an_answer_that_nobody_waits_for_or_that_is_none(given: Any) -> None:
    with pytest.raises(RejectedInput, match=r"input 1|answer|status"):
        list(player.play([flow()], [{"http": given}]))


def test_a_failed_connection_is_status_0() -> None:
    *_, last = player.play([flow()], [{"text": "12"}, {"http": {"status": 0}}])
    assert [message["text"] for message in last["messages"]] == ["Later"]
    assert last["session"]["results"]["order"]["category"] == "Failure"


# --- dialogues

DIALOGUE = """
flow: orders
with: {language: en}
dialogues:
  found:
    - user: order
    - user: "12"
    - expect: {http.method: POST, http.url: "https://shop.example.com/orders/12?lang=en&key=maps_key", waiting: call}
    - expect: {http.headers.Authorization: Bearer shop_key, http.body.number: "12", "http.body.twice[0]": 1}
    - http: {status: 200, body: {status: sent}}
    - bot: It is sent
  missing:
    - user: order
    - user: "12"
    - http: {status: 404}
    - bot: No such order
  nobody answers:
    - user: order
    - user: "12"
    - after: 1 minute
    - bot: Later
  nobody asked:
    - user: order
    - http: {status: 200}
"""


def test_dialogues_answer_calls() -> None:
    """Each line does what it says, and an answer to nothing is a difference."""
    results = dialogues.run(DIALOGUE, "orders.test.yaml", [flow()])
    assert [(one.name, one.passed) for one in results] == [
        ("found", True),
        ("missing", True),
        ("nobody answers", True),
        ("nobody asked", False),
    ]
    assert results[3].difference == "no call waits for an answer"


# --- inspection


def test_a_loop_of_calls_is_a_loop() -> None:
    """Services answer by themselves: trying again at once, for ever, is no way."""
    text = """
flow: f
start: a
steps:
  a: {http: "https://shop.example.com/", error: a, next: end}
"""
    assert "loop_without_input" in {one.code for one in inspection.check(flow(text), {})}
    waiting = text.replace("error: a,", "error: b,") + "  b: {wait: 1 minute, next: a}\n"
    assert inspection.check(flow(waiting), {}) == []


def test_what_is_kept_of_an_answer_is_there_behind_next_alone() -> None:
    text = """
flow: f
languages: [en]
start: a
steps:
  a: {http: "https://shop.example.com/", save: {x: session.x}, error: b, next: c}
  b: {send: "{{ session.x }}", next: end}
  c: {send: "{{ session.x }}", next: end}
"""
    assert [(one.code, one.step) for one in inspection.check(flow(text), {})] == [("read_before_set", "b")]


def test_a_secret_that_is_not_there_is_told() -> None:
    """Where the store is at hand; without it nobody knows."""
    found = inspection.check(flow(), {}, secrets={"maps_key"})
    assert [(one.severity, one.code, one.step) for one in found] == [("warning", "unknown_secret", "look_up")]
    assert inspection.check(flow(), {}) == []


def test_the_compiler_notes_what_costs_and_what_is_secret() -> None:
    helped = flow(step(ai="Help", question="Hi", next="end"))
    assert helped.steps["a"].costs == "ai"
    assert flow().steps["look_up"].secrets == {"shop_key", "maps_key"}
