"""Answers to taps and to the other queries that wait for one."""

from __future__ import annotations

from simulators.telegram.calls import Call, method
from simulators.telegram.errors import QUERY_TOO_OLD, bad

ANSWER_TEXT_LIMIT = 200
ANSWER_WITHIN_S = 150


@method("answerCallbackQuery")
def answer_callback_query(call: Call) -> bool:
    """Once, within 150 s of the tap."""
    query = call.bot.callbacks.get(call.params.text("callback_query_id"))
    now = call.tg.world.clock.now()
    if query is None or query.answered or now - query.at > ANSWER_WITHIN_S:
        raise bad(QUERY_TOO_OLD)
    text = call.params.text("text")
    if len(text) > ANSWER_TEXT_LIMIT:
        raise bad("MESSAGE_TOO_LONG")
    query.answered = True
    fields = {
        "endpoint": call.bot.token,
        "to": str(query.person_id),
        "callback_query_id": query.id,
        "text": text,
        "alert": call.params.flag("show_alert"),
        "url": call.params.text("url"),
    }
    call.tg.world.log.add(call.tg.name, "toast", fields)
    call.tg.world.show("toast", call.tg.name, **fields)
    return True


@method("answerPreCheckoutQuery")
def answer_pre_checkout_query(call: Call) -> bool:
    """Within 10 s; `ok` completes the payment, and the bot gets `successful_payment`."""
    query_id = call.params.text("pre_checkout_query_id")
    if not call.params.flag("ok") and not call.params.text("error_message"):
        raise bad("error_message is empty")
    payment = call.bot.checkouts.pop(query_id, None)
    if payment is None:
        raise bad(QUERY_TOO_OLD)
    payment.settle(call.params.flag("ok"), call.params.text("error_message"))
    return True
