"""The checker of fault tests finds every broken promise: a small history that is right, and ways to spoil it."""

from __future__ import annotations

import copy
from collections.abc import Callable
from types import SimpleNamespace as Row
from typing import Any

import pytest

from storage.sealing import event_key
from tests.support.checker import History, check

Rows = dict[str, list[Any]]


def right() -> History:
    """Two people, one turn of two replies, one campaign message, somebody who said STOP after it, a post."""
    log = [
        delivery(1, 100, 10),
        call(2, "7001", 1, "Primo"),
        call(3, "7001", 2, "Secondo"),
        call(4, "7002", 3, "Saldi"),
        call(6, "@vetrina", 4, "Novità"),
        delivery(5, 500, 11),
    ]
    rows: Rows = {
        "channel": [Row(id=1, kind="telegram")],
        "seen": [Row(channel_id=1, key=event_key("telegram", f"upd:{n}")) for n in (10, 11)],
        "intake": [Row(id=50 + n, channel_id=1, state=2, problem="") for n in range(2)],
        "conversation": [Row(id=30, channel_id=1, address="7001")],
        "identity": [Row(id=40 + n, channel_id=1, contact_id=20 + n, address=f"700{n}") for n in (1, 2)],
        "outlet": [Row(id=45, address="@vetrina")],
        "message": [
            message(60, direction="in", external_id="9", status="received"),
            message(61, external_id="1"),
            message(62, external_id="2"),
            message(63, 22, external_id="3", run_id=70, turn_id=0, message_class="marketing", consent_id=80),
            message(64, 0, external_id="4", outlet_id=45, turn_id=0, message_class="service"),
        ],
        "outbox": [],
        "turn": [Row(id=90, conversation_id=30, event_id=50), Row(id=91, conversation_id=30, event_id=51)],
        "run": [Row(id=70, state="finished", totals='{"total":2,"sent":1}')],
        "delta": [Row(run_id=70, name="skipped", amount=1)],
        "recipient": [
            Row(run_id=70, contact_id=22, state=2, message_id=63),
            Row(run_id=70, contact_id=21, state=4, message_id=0),
        ],
        "consent": [
            Row(id=80, identity_id=42, action="granted"),
            Row(id=81, identity_id=42, action="withdrawn"),
        ],
        "post": [Row(id=75, state="sent", message_id=64)],
        "stray": [],
    }
    return History(log=log, rows=rows, stops={"7002": 11})


def delivery(n: int, at: int, update: int, status: int = 200) -> dict[str, Any]:
    return {
        "n": n,
        "at": at,
        "network": "telegram",
        "kind": "delivery",
        "status": status,
        "update_id": update,
    }


def call(n: int, chat: str, result: int, text: str, at: int = 300) -> dict[str, Any]:
    return {
        "n": n,
        "at": at,
        "network": "telegram",
        "kind": "call",
        "method": "sendMessage",
        "executed": True,
        "chat": chat,
        "result_id": result,
        "params": {"chat_id": chat, "text": text},
    }


def message(id: int, contact: int = 21, **values: Any) -> Row:
    base = {
        "id": id,
        "channel_id": 1,
        "conversation_id": 30 if contact == 21 else 0,
        "contact_id": contact,
        "identity_id": contact + 20,
        "outlet_id": 0,
        "turn_id": 90,
        "run_id": 0,
        "direction": "out",
        "message_class": "reply",
        "external_id": "",
        "status": "sent",
        "possibly_twice": 0,
        "consent_id": 0,
    }
    return Row(**{**base, **values})


def test_a_right_history_has_no_problems() -> None:
    """Nothing is found where nothing is wrong, and things are counted."""
    verdict = check(right())
    assert verdict.problems == []
    assert (verdict.counts["requests executed"], verdict.counts["campaign sent"]) == (4, 1)


def lost(log: list[Any], rows: Rows) -> None:
    rows["seen"].pop()


def left_open(log: list[Any], rows: Rows) -> None:
    rows["intake"][0].state = 0


def refused(log: list[Any], rows: Rows) -> None:
    log.append(delivery(9, 900, 10, 401))


def stuck(log: list[Any], rows: Rows) -> None:
    rows["outbox"].append(Row(id=62, state=1))


def two_turns(log: list[Any], rows: Rows) -> None:
    rows["turn"][1].event_id = 50


def taken_twice(log: list[Any], rows: Rows) -> None:
    rows["message"].append(message(66, direction="in", external_id="9", status="received"))


def overtaken(log: list[Any], rows: Rows) -> None:
    rows["turn"][0].event_id, rows["turn"][1].event_id = 51, 50


def out_of_turn(log: list[Any], rows: Rows) -> None:
    log[1]["n"], log[2]["n"] = 3, 2


def unmarked_copy(log: list[Any], rows: Rows) -> None:
    log.append(call(9, "7001", 99, "Primo"))


def never_sent(log: list[Any], rows: Rows) -> None:
    del log[1]


def doubt_without_reason(log: list[Any], rows: Rows) -> None:
    rows["message"][1].possibly_twice = 1


def forgotten(log: list[Any], rows: Rows) -> None:
    rows["message"][2].status = "queued"


def sold_twice(log: list[Any], rows: Rows) -> None:
    log.append(call(9, "7002", 99, "Saldi"))


def two_rows(log: list[Any], rows: Rows) -> None:
    rows["message"].append(copy.copy(rows["message"][3]))


def wrong_sum(log: list[Any], rows: Rows) -> None:
    rows["delta"].clear()


def hidden_doubt(log: list[Any], rows: Rows) -> None:
    rows["recipient"][0].state = 5
    rows["run"][0].totals = '{"total":2,"unknown":1}'


def post_of_hearsay(log: list[Any], rows: Rows) -> None:
    rows["message"][4].status = "unknown"


def no_consent(log: list[Any], rows: Rows) -> None:
    rows["consent"].clear()


def anothers_consent(log: list[Any], rows: Rows) -> None:
    rows["consent"][0].identity_id = 41


def stop_not_kept(log: list[Any], rows: Rows) -> None:
    del rows["consent"][1]


def sent_by_hearsay(log: list[Any], rows: Rows) -> None:
    rows["message"][3].status = "skipped"


def among_others(log: list[Any], rows: Rows) -> None:
    rows["stray"].append(Row(what="message", id=61))


def after_stop(log: list[Any], rows: Rows) -> None:
    log[3]["at"] = 2_501


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lost, "I1: upd:11"),
        (left_open, "I1: event 50 is still open"),
        (refused, "was answered 401"),
        (stuck, "I1: message 62 still waits"),
        (two_turns, "I2: event 50 had 2 turns"),
        (taken_twice, "I2: message 9"),
        (overtaken, "I3: conversation 30"),
        (out_of_turn, "I3: the messages of turn 90"),
        (unmarked_copy, "I2: 1 requests to one address"),
        (never_sent, "I8: message 61"),
        (doubt_without_reason, "not being sent at the death"),
        (forgotten, "I1: message 62 ended as queued"),
        (sold_twice, "I4: 2 marketing messages reached one person"),
        (two_rows, "I4: contact 22 has 2 messages"),
        (wrong_sum, "I4: run 70"),
        (hidden_doubt, "I8: contact 22 is unknown"),
        (post_of_hearsay, "I8: post 75 is sent, its message is unknown"),
        (no_consent, "I5: marketing message 63"),
        (anothers_consent, "I5: marketing message 63"),
        (after_stop, "I5: a marketing request"),
        (stop_not_kept, "I5: the opt-out of update 11"),
        (sent_by_hearsay, "I8: contact 22 is sent, their message is skipped"),
        (among_others, "I6: message 61"),
    ],
    ids=lambda value: value.__name__ if callable(value) else "",
)
def test_a_broken_promise_is_found(spoil: Callable[[list[Any], Rows], None], words: str) -> None:
    """Each way to spoil the history is named by its invariant."""
    history = right()
    spoil(history.log, history.rows)  # type: ignore[arg-type]
    assert any(words in problem for problem in check(history).problems), check(history).problems


def test_a_copy_that_is_marked_and_was_being_sent_at_the_death_is_allowed() -> None:
    """`possibly twice` covers one request more to that address, not two."""
    history = right()
    doubted = history.rows["message"][1]
    doubted.possibly_twice = 1
    history = History(history.log, history.rows, sending_at_death={61}, stops=history.stops)
    history.log.append(call(9, "7001", 98, "Primo"))  # type: ignore[attr-defined]
    assert check(history).problems == []
    history.log.append(call(10, "7001", 99, "Primo"))  # type: ignore[attr-defined]
    assert check(history).problems
