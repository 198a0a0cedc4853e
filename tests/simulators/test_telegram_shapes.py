"""Every object of the simulated Telegram is one that python-telegram-bot, an independent reader, knows whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from telegram import (
    Bot,
    Chat,
    ChatFullInfo,
    ChatInviteLink,
    ChatMember,
    File,
    ForumTopic,
    Message,
    Poll,
    TelegramObject,
    Update,
    WebhookInfo,
)

from simulators.telegram.calls import METHODS
from simulators.telegram.files import plain_png
from simulators.telegram.updates import KINDS
from tests.simulators.telegram_shop import ANNA, TOKEN, Json, Shop, open_shop

# Fields that the platform sends for old clients, or that are newer than the library; it keeps them in `api_kwargs`.
OLD_OR_NEW_FIELDS = {"can_manage_voice_chats", "correct_option_id", "user_ids"}


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as opened:
        yield opened


def unknown_fields(value: Any) -> Iterator[str]:
    """What the library did not know, anywhere inside an object."""
    if isinstance(value, TelegramObject):
        yield from value.api_kwargs
        for name in value.__slots__:
            yield from unknown_fields(getattr(value, name, None))
    elif isinstance(value, (list, tuple)):
        for each in value:
            yield from unknown_fields(each)


def read(kind: type[TelegramObject], wire: Json) -> Any:
    parsed = kind.de_json(wire, None)
    assert parsed is not None
    assert set(unknown_fields(parsed)) <= OLD_OR_NEW_FIELDS, wire
    return parsed


async def read_updates(shop: Shop) -> list[Any]:
    return [read(Update, wire) for wire in await shop.updates(allowed_updates=sorted(KINDS))]


@pytest.fixture
async def channel(shop: Shop) -> int:
    """A channel that the bot runs, owned by Anna."""
    await shop.call("getUpdates", allowed_updates=sorted(KINDS))
    chat = await shop.sim.telegram_chat("channel", "Shop news", username="shopnews_example", owner=ANNA)
    await shop.sim.telegram_admin(chat, TOKEN)
    return chat


@pytest.fixture
async def group(shop: Shop) -> int:
    await shop.call("getUpdates", allowed_updates=sorted(KINDS))
    chat = await shop.sim.telegram_chat("supergroup", "Shop talk", owner=ANNA)
    await shop.sim.telegram_admin(chat, TOKEN)
    return chat


SAID: list[tuple[Json, str]] = [
    ({"do": "start", "payload": "src_fb-42"}, "text"),
    ({"do": "say", "text": "call +39 0212345678 or @shop_example_bot, https://example.com #sale"}, "text"),
    ({"do": "contact"}, "contact"),
    ({"do": "contact", "first_name": "Bob", "phone_number": "15550100"}, "contact"),
    ({"do": "location", "latitude": 45.4, "longitude": 9.1}, "location"),
    ({"do": "location", "latitude": 45.4, "longitude": 9.1, "live_period": 900}, "location"),
    (
        {"do": "location", "latitude": 45.4, "longitude": 9.1, "title": "Shop", "address": "Via Roma 1"},
        "venue",
    ),
    *[
        ({"do": "media", "kind": kind, "caption": "look"}, kind)
        for kind in ("photo", "video", "document", "audio")
    ],
    *[({"do": "media", "kind": kind}, kind) for kind in ("voice", "animation", "sticker", "video_note")],
    ({"do": "web_app_data", "data": "{}", "button_text": "Book"}, "web_app_data"),
]


@pytest.mark.parametrize(("action", "field"), SAID, ids=[f"{action['do']}-{field}" for action, field in SAID])
async def test_what_a_person_says_is_a_message(shop: Shop, action: Json, field: str) -> None:
    """Each action gives one update of kind message with the content in its field."""
    ids = await shop.act(**action)
    (update,) = await read_updates(shop)
    assert [update.update_id] == ids
    assert update.message.from_user.id == ANNA
    assert getattr(update.message, field)


async def test_an_album_is_one_update_per_picture(shop: Shop) -> None:
    """Same media_group_id, the caption on the first, ids rising by one."""
    ids = await shop.act("album", items=[{}, {}, {"kind": "video"}], caption="all sides")
    updates = await read_updates(shop)
    assert [update.update_id for update in updates] == ids == list(range(ids[0], ids[0] + 3))
    assert len({update.message.media_group_id for update in updates}) == 1
    assert [update.message.caption for update in updates] == ["all sides", None, None]


async def test_an_edit_a_reply_and_a_block(shop: Shop) -> None:
    """edited_message, reply_to_message, my_chat_member with kicked and back."""
    sent = await shop.call("sendMessage", chat_id=ANNA, text="your name?")
    await shop.act("say", text="An", reply_to=sent["message_id"])
    await shop.act("edit", text="Ann")
    await shop.act("block")
    await shop.act("say", text="here again")
    reply, edited, blocked, unblocked, again = await read_updates(shop)
    assert reply.message.reply_to_message.text == "your name?"
    assert edited.edited_message.text == "Ann"
    assert blocked.my_chat_member.new_chat_member.status == "kicked"
    assert unblocked.my_chat_member.new_chat_member.status == "member"
    assert again.message.text == "here again"


async def test_a_tap_on_each_kind_of_button(shop: Shop) -> None:
    """Inline buttons give callback_query; keys give their text, the contact, the place, the picked users or chats."""
    inline = {
        "inline_keyboard": [
            [{"text": "18:00", "callback_data": "f:1"}, {"text": "Web", "url": "https://example.com"}]
        ]
    }
    await shop.call("sendMessage", chat_id=ANNA, text="When?", reply_markup=inline)
    assert await shop.act("tap", text="Web") == []
    await shop.act("tap", data="f:1")
    keys = [
        [
            {"text": "Plain"},
            {"text": "Number", "request_contact": True},
            {"text": "Place", "request_location": True},
        ],
        [{"text": "Friend", "request_users": {"request_id": 7, "request_name": True}}],
        [
            {
                "text": "Channel",
                "request_chat": {"request_id": 8, "chat_is_channel": True, "request_title": True},
            }
        ],
    ]
    await shop.sim.telegram_person(first_name="Bob")
    await shop.sim.telegram_chat("channel", "Shop news", owner=ANNA)
    await shop.call("sendMessage", chat_id=ANNA, text="Pick", reply_markup={"keyboard": keys})
    for text in ("Plain", "Number", "Place", "Friend", "Channel"):
        await shop.act("tap", text=text)
    tap, plain, number, place, friend, channel = await read_updates(shop)
    assert (tap.callback_query.data, tap.callback_query.message.text) == ("f:1", "When?")
    assert plain.message.text == "Plain"
    assert number.message.contact.user_id == ANNA
    assert place.message.location
    assert friend.message.users_shared.users[0].first_name == "Bob"
    assert channel.message.chat_shared.title == "Shop news"


async def test_the_life_of_a_channel(shop: Shop, channel: int) -> None:
    """Added as admin, posts, edits, joins by a named link, reaction totals, and the way out."""
    link = read(ChatInviteLink, await shop.call("createChatInviteLink", chat_id=channel, name="fb-ad-42"))
    bob = await shop.sim.telegram_person(first_name="Bob")
    await shop.act("join", bob, link=link.invite_link)
    await shop.act("post", chat=channel, text="New arrivals")
    await shop.act("edit", chat=channel, text="New arrivals!")
    own = await shop.call("sendMessage", chat_id="@shopnews_example", text="ours")
    await shop.act("react", bob, chat=channel, message_id=own["message_id"], emoji="👍")
    await shop.act("leave", bob, chat=channel)
    updates = await read_updates(shop)
    added, _, joined, post, edited, reactions, left = updates
    assert added.my_chat_member.new_chat_member.can_post_messages
    assert joined.chat_member.invite_link.name == "fb-ad-42"
    assert post.channel_post.text == "New arrivals"
    assert edited.edited_channel_post.text == "New arrivals!"
    assert reactions.message_reaction_count.reactions[0].total_count == 1
    assert left.chat_member.new_chat_member.status == "left"
    assert read(Message, own).sender_chat.id == channel


async def test_a_request_to_join_lets_the_bot_write_until_it_is_processed(shop: Shop, channel: int) -> None:
    """chat_join_request, a message to the person, approval with via_join_request, and then silence again."""
    link = await shop.call("createChatInviteLink", chat_id=channel, creates_join_request=True)
    bob = await shop.sim.telegram_person(first_name="Bob", bio="hi")
    await shop.act("request_join", bob, link=link["invite_link"])
    request = (await read_updates(shop))[-1].chat_join_request
    assert (request.bio, request.user_chat_id) == ("hi", bob)
    await shop.call("sendMessage", chat_id=bob, text="Why do you want to join?")
    await shop.call("approveChatJoinRequest", chat_id=channel, user_id=bob)
    (approved,) = await read_updates(shop)
    assert approved.chat_member.via_join_request
    refusal = await shop.refused("sendMessage", chat_id=bob, text="and now?")
    assert refusal == "403 Forbidden: bot can't initiate conversation with a user"


async def test_members_of_every_status(shop: Shop, group: int) -> None:
    """creator, administrator, member, restricted, left and kicked are read whole."""
    statuses = []
    bob = await shop.sim.telegram_person(first_name="Bob")
    statuses.append(await shop.call("getChatMember", chat_id=group, user_id=bob))
    await shop.act("join", bob, chat=group)
    statuses.append(await shop.call("getChatMember", chat_id=group, user_id=bob))
    await shop.call("restrictChatMember", chat_id=group, user_id=bob, permissions={"can_send_messages": True})
    statuses.append(await shop.call("getChatMember", chat_id=group, user_id=bob))
    await shop.call("banChatMember", chat_id=group, user_id=bob)
    statuses.append(await shop.call("getChatMember", chat_id=group, user_id=bob))
    statuses += await shop.call("getChatAdministrators", chat_id=group)
    parsed = [read(ChatMember, wire) for wire in statuses]
    assert [each.status for each in parsed] == [
        "left",
        "member",
        "restricted",
        "kicked",
        "creator",
        "administrator",
    ]
    await read_updates(shop)


async def test_a_group_moves_to_a_supergroup(shop: Shop) -> None:
    """Two service messages tell the ids; the old id answers with the new one in `parameters`."""
    chat = await shop.sim.telegram_chat("group", "Friends", owner=ANNA)
    await shop.sim.telegram_admin(chat, TOKEN)
    new = (await shop.sim.call("POST", f"/telegram/chats/{chat}/upgrade"))["id"]
    _, added, away, here = await read_updates(shop)
    assert added.message.new_chat_members[0].id == 110201543
    assert (away.message.chat.id, away.message.migrate_to_chat_id) == (chat, new)
    assert (here.message.chat.id, here.message.migrate_from_chat_id) == (new, chat)
    status, answer = await shop.raw("sendMessage", {"chat_id": chat, "text": "hello"})
    assert (status, answer["parameters"]) == (400, {"migrate_to_chat_id": new})
    assert answer["description"] == "Bad Request: group chat was upgraded to a supergroup chat"


async def test_polls_answers_and_totals(shop: Shop, group: int) -> None:
    """poll_answer only for open polls, poll totals for all, a retracted vote is empty."""
    sent = await shop.call(
        "sendPoll", chat_id=group, question="Which?", options=["Red", "Blue"], is_anonymous=False
    )
    assert read(Message, sent).poll.options[0].text == "Red"
    await shop.updates()
    await shop.act("vote", poll_id=sent["poll"]["id"], options=[1])
    await shop.act("vote", poll_id=sent["poll"]["id"], options=[])
    answer, state, retracted, empty = await read_updates(shop)
    assert answer.poll_answer.option_ids == (1,)
    assert state.poll.options[1].voter_count == 1
    assert retracted.poll_answer.option_ids == ()
    assert empty.poll.total_voter_count == 0
    stopped = await shop.call("stopPoll", chat_id=group, message_id=sent["message_id"])
    assert read(Poll, stopped).is_closed


async def test_a_payment(shop: Shop) -> None:
    """The invoice, the question before, and the receipt after a yes within 10 s."""
    prices = [{"label": "Seat", "amount": 50}]
    sent = await shop.call(
        "sendInvoice",
        chat_id=ANNA,
        title="Seat",
        description="A seat",
        payload="o:1",
        currency="XTR",
        prices=prices,
    )
    assert read(Message, sent).invoice.total_amount == 50
    await shop.act("pay")
    (question,) = await read_updates(shop)
    assert question.pre_checkout_query.invoice_payload == "o:1"
    await shop.call("answerPreCheckoutQuery", pre_checkout_query_id=question.pre_checkout_query.id, ok=True)
    (paid,) = await read_updates(shop)
    assert paid.message.successful_payment.invoice_payload == "o:1"
    await shop.act("pay")
    await shop.after(11)
    assert shop.log("payment_failed")


async def test_what_the_bot_sends_and_asks(shop: Shop, channel: int) -> None:
    """Results of sending, copying, chats, files and the webhook are read whole."""
    shop.network.files.put_on_web("https://example.com/p.png", plain_png(640, 480), "image/png")
    photo = read(
        Message,
        await shop.call(
            "sendPhoto",
            chat_id=ANNA,
            photo="https://example.com/p.png",
            caption="<b>x</b>",
            parse_mode="HTML",
        ),
    )
    assert [size.width for size in photo.photo] == [90, 320, 640]
    again = read(Message, await shop.call("sendPhoto", chat_id=ANNA, photo=photo.photo[-1].file_id))
    assert again.photo[-1].file_unique_id == photo.photo[-1].file_unique_id
    asked: dict[str, Json] = {
        "sendLocation": {"latitude": 1, "longitude": 2},
        "sendVenue": {"latitude": 1, "longitude": 2, "title": "Shop", "address": "Via Roma 1"},
        "sendContact": {"phone_number": "+15550100", "first_name": "Bob"},
        "sendDice": {},
        "forwardMessage": {"from_chat_id": ANNA, "message_id": photo.message_id},
    }
    for method, params in asked.items():
        read(Message, await shop.call(method, chat_id=ANNA, **params))
    file = read(File, await shop.call("getFile", file_id=photo.photo[-1].file_id))
    async with shop.session.get(f"{shop.origin}/file/bot{TOKEN}/{file.file_path}") as response:
        assert await response.read() == plain_png(640, 480)
    read(ChatFullInfo, await shop.call("getChat", chat_id=ANNA))
    read(ChatFullInfo, await shop.call("getChat", chat_id=channel))
    read(WebhookInfo, await shop.call("getWebhookInfo"))
    post = await shop.call("sendMessage", chat_id=channel, text="pin me")
    await shop.call("pinChatMessage", chat_id=channel, message_id=post["message_id"])
    pinned = (await read_updates(shop))[-1]
    assert pinned.channel_post.pinned_message.text == "pin me"
    assert isinstance(pinned.channel_post.chat, Chat)


async def test_topics_of_a_forum(shop: Shop) -> None:
    """A topic is made by the bot; messages name it both ways; an unknown one is refused."""
    forum = await shop.sim.telegram_chat("supergroup", "Forum", owner=ANNA, admins=[TOKEN], forum=True)
    topic = read(ForumTopic, await shop.call("createForumTopic", chat_id=forum, name="Orders"))
    number = topic.message_thread_id
    sent = await shop.call("sendMessage", chat_id=forum, message_thread_id=number, text="hello")
    assert read(Message, sent).is_topic_message
    await shop.act("say", chat=forum, topic=number, text="an order")
    asked = (await read_updates(shop))[-1].message
    assert (asked.message_thread_id, asked.chat.is_forum) == (number, True)
    refusal = await shop.refused("sendMessage", chat_id=forum, message_thread_id=999, text="x")
    assert refusal == "400 Bad Request: message thread not found"


def test_every_method_exists_in_the_bot_api() -> None:
    """No name is our own: the independent client has a method for each."""
    assert {registered.name for registered in METHODS.values()} <= set(dir(Bot))
