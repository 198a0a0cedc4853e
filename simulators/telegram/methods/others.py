"""Locations, contacts, polls, dice, invoices, reactions."""

from __future__ import annotations

from typing import Any

from simulators.telegram import places
from simulators.telegram.calls import Call, method
from simulators.telegram.errors import bad
from simulators.telegram.methods.sending import reply_parameters, send
from simulators.telegram.polls import Poll
from simulators.telegram.posting import replace
from simulators.telegram.state import Wire
from simulators.telegram.text import formatted

QUESTION_LIMIT = 300
OPTIONS_LIMIT = 12
OPTION_LIMIT = 100
EXPLANATION_LIMIT = 200
OPEN_PERIOD_S = (5, 2_628_000)
DICE_SIDES = {"🎲": 6, "🎯": 6, "🎳": 6, "🏀": 5, "⚽": 5, "🎰": 64}
# The reactions that Telegram offers to everybody, as far as the Bot API names them.
REACTIONS = frozenset(
    (
        "❤ 👍 👎 🔥 🥰 👏 😁 🤔 🤯 😱 🤬 😢 🎉 🤩 🤮 💩 🙏 👌 🕊 🤡 "
        "🥱 🥴 😍 🐳 ❤‍🔥 🌚 🌭 💯 🤣 ⚡ 🍌 🏆 💔 🤨 😐 🍓 🍾 💋 🖕 "
        "😈 😴 😭 🤓 👻 👨‍💻 👀 🎃 🙈 😇 😨 🤝 ✍ 🤗 🫡 🎅 🎄 ☃ 💅 "
        "🤪 🗿 🆒 💘 🙉 🦄 😘 💊 🙊 😎 👾 🤷‍♂ 🤷 🤷‍♀ 😡"
    ).split()
)


def _sent(call: Call, kind: str, content: Wire) -> Wire:
    reply, markup = reply_parameters(call), call.markup()
    return send(call, call.place(), kind, content, markup=markup, reply=reply)


def _location(call: Call) -> Wire:
    latitude, longitude = call.params.decimal("latitude"), call.params.decimal("longitude")
    if latitude is None:
        raise bad("latitude is empty")
    if longitude is None:
        raise bad("longitude is empty")
    if not -90 <= latitude <= 90 or not -180 <= longitude <= 180:
        raise bad("wrong location specified" if abs(latitude) > 90 else "longitude is invalid")
    return {"latitude": latitude, "longitude": longitude}


@method("sendLocation")
def send_location(call: Call) -> Wire:
    location = _location(call)
    period = call.params.integer("live_period")
    if period:
        if not 60 <= period <= 86400 and period != 0x7FFFFFFF:
            raise bad("wrong live location period specified")
        location["live_period"] = period
    return _sent(call, "location", {"location": location})


@method("sendVenue")
def send_venue(call: Call) -> Wire:
    location = _location(call)
    title, address = call.params.text("title"), call.params.text("address")
    if not title:
        raise bad("venue title must be non-empty")
    if not address:
        raise bad("venue address must be non-empty")
    return _sent(
        call,
        "venue",
        {"venue": {"location": location, "title": title, "address": address}, "location": location},
    )


@method("sendContact")
def send_contact(call: Call) -> Wire:
    params = call.params
    if not params.text("phone_number"):
        raise bad("phone number is empty")
    if not params.text("first_name"):
        raise bad("first name is empty")
    names = ("phone_number", "first_name", "last_name", "vcard")
    return _sent(
        call, "contact", {"contact": {name: params.text(name) for name in names if params.text(name)}}
    )


@method("sendDice")
def send_dice(call: Call) -> Wire:
    emoji = call.params.text("emoji") or "🎲"
    if emoji not in DICE_SIDES:
        raise bad("wrong dice emoji specified")
    value = call.tg.world.rng.randint(1, DICE_SIDES[emoji])
    return _sent(call, "dice", {"dice": {"emoji": emoji, "value": value}})


@method("sendInvoice")
def send_invoice(call: Call) -> Wire:
    params = call.params
    for name in ("title", "description", "payload", "currency"):
        if not params.text(name):
            raise bad(f"{name} is empty" if name != "payload" else "invoice payload is empty")
    prices = params.json("prices", "can't parse prices JSON object")
    if not isinstance(prices, list) or not prices:
        raise bad("there must be at least one price")
    if params.text("currency") == "XTR" and len(prices) != 1:
        raise bad("there must be exactly one price in Telegram Stars")
    if params.text("currency") != "XTR" and not params.text("provider_token"):
        raise bad("PAYMENT_PROVIDER_INVALID")
    invoice = {
        "title": params.text("title"),
        "description": params.text("description"),
        "start_parameter": params.text("start_parameter"),
        "currency": params.text("currency"),
        "total_amount": sum(_amount(price) for price in prices),
    }
    wire = _sent(call, "invoice", {"invoice": invoice})
    call.bot.invoice_payloads[wire["chat"]["id"], wire["message_id"]] = params.text("payload")
    return wire


def _amount(price: Any) -> int:
    if not isinstance(price, dict) or not isinstance(price.get("amount"), int):
        raise bad("can't parse labeled price: Can't find field \"amount\"")
    return int(price["amount"])


# --- polls ----------------------------------------------------------------------------------------------------------


@method("sendPoll")
def send_poll(call: Call) -> Wire:
    poll = _read_poll(call)
    place = call.place()
    places.check_send(call.bot, place, "poll")
    if place.chat is not None and place.chat.type == "channel" and not poll.is_anonymous:
        raise bad("non-anonymous polls can't be sent to channel chats")
    wire = _sent(call, "poll", {"poll": poll.wire()})
    call.tg.polls.add(poll)
    if poll.open_period or poll.close_date:
        until = poll.open_period or (poll.close_date or 0) - call.tg.world.clock.now()
        poll.closing = call.tg.world.clock.call_later(until, lambda: _close(call, poll))
    return wire


def _read_poll(call: Call) -> Poll:
    params = call.params
    question = formatted(params.text("question"), params.text("question_parse_mode"), None).text
    if not question:
        raise bad("poll question must be non-empty")
    if len(question) > QUESTION_LIMIT:
        raise bad(f"poll question length must not exceed {QUESTION_LIMIT}")
    options = _read_options(call)
    poll = Poll(
        id=str(call.tg.world.rng.randrange(5 * 10**18, 6 * 10**18)),
        bot_token=call.bot.token,
        question=question,
        options=options,
        is_anonymous=params.flag("is_anonymous") if params.has("is_anonymous") else True,
        allows_multiple_answers=params.flag("allows_multiple_answers"),
        type=params.text("type") or "regular",
        is_closed=params.flag("is_closed"),
    )
    if poll.type not in ("regular", "quiz"):
        raise bad("unsupported poll type specified")
    if poll.type == "quiz":
        _read_quiz(call, poll)
    period = params.integer("open_period")
    if period and not OPEN_PERIOD_S[0] <= period <= OPEN_PERIOD_S[1]:
        raise bad("poll open period must be in the range from 5 to 2628000")
    poll.open_period, poll.close_date = period or None, params.integer("close_date") or None
    return poll


def _read_options(call: Call) -> list[str]:
    given = call.params.json("options", "can't parse options JSON object")
    if given is not None and not isinstance(given, list):
        raise bad("expected an Array of String as options")
    options = [str(each.get("text", "")) if isinstance(each, dict) else str(each) for each in given or []]
    if not options:
        raise bad("poll must have at least one answer option")
    if len(options) > OPTIONS_LIMIT:
        raise bad(f"poll can't have more than {OPTIONS_LIMIT} options")
    if any(not option.strip() for option in options):
        raise bad("poll options must be non-empty")
    if any(len(option) > OPTION_LIMIT for option in options):
        raise bad(f"poll options length must not exceed {OPTION_LIMIT}")
    return options


def _read_quiz(call: Call, poll: Poll) -> None:
    correct = call.params.json("correct_option_ids", "can't parse correct option identifiers JSON object")
    index = (
        correct[0] if isinstance(correct, list) and correct else call.params.integer("correct_option_id", -1)
    )
    if not isinstance(index, int) or not 0 <= index < len(poll.options):
        raise bad("wrong correct option ID specified")
    explanation = call.params.text("explanation")
    if len(explanation) > EXPLANATION_LIMIT or explanation.count("\n") > 2:
        raise bad("poll explanation is too long")
    poll.correct_option_id, poll.explanation = index, explanation or None
    if poll.allows_multiple_answers:
        raise bad("multiple answers are not allowed in quizzes")


def _close(call: Call, poll: Poll) -> None:
    if not poll.is_closed:
        poll.is_closed = True
        call.bot.updates.push("poll", poll.wire(), poll.id)


@method("stopPoll")
def stop_poll(call: Call) -> Wire:
    markup = call.markup()
    place = call.accessible()
    message = call.message(place, "message with poll to stop not found")
    poll = call.tg.polls.get(message.wire["poll"]["id"]) if "poll" in message.wire else None
    if poll is None:
        raise bad("message is not a poll")
    if poll.is_closed:
        raise bad("poll has already been closed")
    if message.bot_id != call.bot.id:
        raise bad("poll can't be stopped")
    if poll.closing is not None:
        poll.closing.cancel()
    poll.is_closed = True
    wire = {key: value for key, value in message.wire.items() if key != "reply_markup"} | {
        "poll": poll.wire()
    }
    if markup is not None:
        wire["reply_markup"] = markup
    replace(call.tg, call.bot, place, message, wire)
    return poll.wire()


# --- reactions ------------------------------------------------------------------------------------------------------


@method("setMessageReaction")
def set_message_reaction(call: Call) -> bool:
    """Bots set one reaction; nobody is told but the screens."""
    given = call.params.json("reaction", "can't parse reaction types JSON object") or []
    if not isinstance(given, list):
        raise bad("expected an Array of ReactionType")
    place = call.accessible()
    message = call.message(place, "message to react not found")
    if len(given) > 1:
        raise bad("REACTIONS_TOO_MANY")
    for each in given:
        if not isinstance(each, dict) or each.get("type") not in ("emoji", "custom_emoji", "paid"):
            raise bad("can't parse ReactionType: invalid reaction type specified")
        if each["type"] == "emoji" and each.get("emoji", "").replace("\ufe0f", "") not in REACTIONS:
            raise bad("REACTION_INVALID")
    message.reactions.pop(call.bot.id, None)
    if given:
        message.reactions[call.bot.id] = list(given)
    fields = {
        "endpoint": call.bot.token,
        "to": str(place.id),
        "external_id": str(message.id),
        "reaction": given,
    }
    call.tg.world.log.add(call.tg.name, "reaction", fields)
    call.tg.world.show("reaction", call.tg.name, **fields)
    return True


@method("getBusinessConnection")
def get_business_connection(call: Call) -> Wire:
    raise bad("business connection not found")
