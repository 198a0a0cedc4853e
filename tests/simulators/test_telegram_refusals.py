"""The refusals of the simulated Telegram, word for word: what is sent, and what the official server says to it."""

from __future__ import annotations

import io
import random
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from simulators.telegram.calls import METHODS
from simulators.telegram.files import plain_png
from tests.simulators.telegram_shop import ANNA, TOKEN, Json, Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop() as opened:
        yield opened


def button(**parts: Any) -> Json:
    return {"inline_keyboard": [[{"text": "B", **parts}]]}


def text(**params: Any) -> tuple[str, Json]:
    return "sendMessage", {"chat_id": ANNA, "text": "hi", **params}


def media(method: str, **params: Any) -> tuple[str, Json]:
    return method, {"chat_id": ANNA, **params}


def poll(**params: Any) -> tuple[str, Json]:
    return "sendPoll", {"chat_id": ANNA, "question": "Q", "options": ["a", "b"], **params}


BAD: list[tuple[tuple[str, Json], str]] = [
    (("sendMessage", {"text": "hi"}), "chat_id is empty"),
    (text(chat_id="nobody"), "chat not found"),
    (text(chat_id=424242), "chat not found"),
    (text(chat_id="@nobody_here"), "chat not found"),
    (text(chat_id="@annlee"), "chat not found"),
    (text(chat_id=-100123), "chat not found"),
    (text(text=""), "message text is empty"),
    (text(text=" \n "), "message text is empty"),
    (text(text="x" * 4097), "message is too long"),
    (text(text="è" * 20_000), "text is too long"),
    (text(text="half a character: \ud83d"), "strings must be encoded in UTF-8"),
    (text(parse_mode="bbcode"), "unsupported parse_mode"),
    (
        text(text="<b>x", parse_mode="HTML"),
        "can't parse entities: Can't find end tag corresponding to start tag \"b\"",
    ),
    (
        text(text="a<br>b", parse_mode="HTML"),
        'can\'t parse entities: Unsupported start tag "br" at byte offset 1',
    ),
    (
        text(text="è<br>", parse_mode="HTML"),
        'can\'t parse entities: Unsupported start tag "br" at byte offset 2',
    ),
    (
        text(text="<b><i>x</b></i>", parse_mode="HTML"),
        'can\'t parse entities: Unmatched end tag at byte offset 7, expected "</i>", found "</b>"',
    ),
    (text(text="x</b>", parse_mode="HTML"), "can't parse entities: Unexpected end tag at byte offset 1"),
    (text(text="x <b", parse_mode="HTML"), "can't parse entities: Unclosed start tag at byte offset 2"),
    (
        text(text="1.5", parse_mode="MarkdownV2"),
        "can't parse entities: Character '.' is reserved and must be escaped with the preceding '\\'",
    ),
    (
        text(text="hi *there", parse_mode="MarkdownV2"),
        "can't parse entities: Can't find end of Bold entity at byte offset 3",
    ),
    (
        text(text="hi _there", parse_mode="Markdown"),
        "can't parse entities: Can't find end of the entity starting at byte offset 3",
    ),
    (text(reply_markup="{oops"), "can't parse reply keyboard markup JSON object"),
    (text(reply_markup=[1]), "object expected as reply markup"),
    (
        text(reply_markup={"inline_keyboard": [{"text": "B"}]}),
        'field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays',
    ),
    (
        text(reply_markup=button()),
        "can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard",
    ),
    (text(reply_markup=button(text="", callback_data="x")), "inline keyboard button text must be non-empty"),
    (text(reply_markup=button(callback_data="x" * 65)), "BUTTON_DATA_INVALID"),
    (text(reply_markup=button(callback_data="è" * 33)), "BUTTON_DATA_INVALID"),
    (text(reply_markup=button(callback_data="")), "BUTTON_DATA_INVALID"),
    (text(reply_markup=button(url="http://a b")), "BUTTON_URL_INVALID"),
    (
        text(reply_markup=button(url="ftp://example.com")),
        "inline keyboard button URL 'ftp://example.com' is invalid: Unsupported URL protocol",
    ),
    (
        text(reply_markup=button(url="http://localhost/x")),
        "inline keyboard button URL 'http://localhost/x' is invalid: Wrong HTTP URL",
    ),
    (
        text(reply_markup=button(web_app={"url": "http://example.com"})),
        "inline keyboard button Web App URL 'http://example.com' is invalid: Only HTTPS links are allowed",
    ),
    (
        text(reply_markup=button(web_app="https://example.com")),
        'can\'t parse inline keyboard button: Field "web_app" must be of type Object',
    ),
    (
        text(reply_markup={"inline_keyboard": [[{"text": "x", "callback_data": "y"}]] * 101}),
        "reply markup is too long",
    ),
    (text(reply_parameters={"message_id": 777}), "message to be replied not found"),
    (text(reply_to_message_id=777), "message to be replied not found"),
    (media("sendPhoto"), "there is no photo in the request"),
    (media("sendDocument"), "there is no document in the request"),
    (media("sendPhoto", photo="AgACAgQAAxkUNKNOWN"), "wrong file identifier/HTTP URL specified"),
    (media("sendPhoto", photo="https://example.com/none.png"), "failed to get HTTP URL content"),
    (media("sendPhoto", photo="https://example.com/page"), "wrong type of the web page content"),
    (media("sendPhoto", photo="https://example.com/thin.png"), "PHOTO_INVALID_DIMENSIONS"),
    (media("sendPhoto", photo="https://example.com/broken.png"), "IMAGE_PROCESS_FAILED"),
    (
        media("sendPhoto", photo="https://example.com/p.png", caption="x" * 1025),
        "message caption is too long",
    ),
    (media("sendMediaGroup", media="{oops"), "can't parse media JSON object"),
    (media("sendMediaGroup", media={"type": "photo"}), "expected an Array of InputMedia"),
    (media("sendMediaGroup", media=[]), "there are no messages to send as an album"),
    (
        media("sendMediaGroup", media=[{"type": "photo", "media": "x"}] * 11),
        "too many messages to send as an album",
    ),
    (
        media("sendMediaGroup", media=[{"type": "animation", "media": "x"}] * 2),
        'type "animation" can\'t be used in sendMediaGroup',
    ),
    (poll(question=""), "poll question must be non-empty"),
    (poll(question="q" * 301), "poll question length must not exceed 300"),
    (poll(options=[]), "poll must have at least one answer option"),
    (poll(options=["x"] * 13), "poll can't have more than 12 options"),
    (poll(options=["x" * 101]), "poll options length must not exceed 100"),
    (media("sendChatAction", action="dancing"), "wrong parameter action in request"),
    (media("copyMessage", from_chat_id=ANNA, message_id=777), "message to copy not found"),
    (media("forwardMessage", from_chat_id=ANNA, message_id=777), "message to forward not found"),
    (
        media("copyMessages", from_chat_id=ANNA, message_ids=list(range(1, 102))),
        "too many message identifiers specified",
    ),
    (media("editMessageText", message_id=777, text="x"), "message to edit not found"),
    (media("editMessageText", message_id=1, text="x"), "message can't be edited"),
    (media("deleteMessage"), "message identifier is not specified"),
    (media("deleteMessage", message_id=777), "message to delete not found"),
    (
        ("answerCallbackQuery", {"callback_query_id": "1"}),
        "query is too old and response timeout expired or query ID is invalid",
    ),
    (("getChat", {"chat_id": 5}), "chat not found"),
    (("getChatMember", {"chat_id": ANNA, "user_id": 5}), "user not found"),
    (("getChatAdministrators", {"chat_id": ANNA}), "there are no administrators in the private chat"),
    (("getFile", {"file_id": "nothing"}), "invalid file_id"),
    (("setMyCommands", {"commands": "{oops"}), "can't parse commands JSON object"),
    (("setMyCommands", {"commands": {"a": 1}}), "expected an Array of BotCommand"),
    (("setMyCommands", {"commands": [{"command": "A b", "description": "x"}]}), "BOT_COMMAND_INVALID"),
    (("setWebhook", {"url": "http://"}), "invalid webhook URL specified"),
    (("setWebhook", {"url": "http://example.com"}), "bad webhook: An HTTPS URL must be provided for webhook"),
    (
        ("setWebhook", {"url": "https://example.com:8080"}),
        "bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443",
    ),
    (("setWebhook", {"url": "https://192.168.1.5/x"}), "bad webhook: IP address 192.168.1.5 is reserved"),
    (
        ("setWebhook", {"url": "https://example.com/x"}),
        "bad webhook: Failed to resolve host: Name or service not known",
    ),
    (
        ("setWebhook", {"url": "https://127.0.0.1/x", "secret_token": "a b"}),
        "secret token contains unallowed characters",
    ),
    (("setWebhook", {"url": "https://127.0.0.1/x", "secret_token": "a" * 257}), "secret token is too long"),
]


@pytest.mark.parametrize(("given", "sentence"), BAD, ids=[f"{n}-{case[0][0]}" for n, case in enumerate(BAD)])
async def test_a_bad_request_gets_the_servers_sentence(
    shop: Shop, given: tuple[str, Json], sentence: str
) -> None:
    """400, and nothing reached anybody."""
    files = shop.network.files
    files.put_on_web("https://example.com/page", b"<html>", "text/html")
    files.put_on_web("https://example.com/p.png", plain_png(10, 10), "image/png")
    files.put_on_web("https://example.com/thin.png", plain_png(210, 10), "image/png")
    files.put_on_web("https://example.com/broken.png", b"not a picture", "image/png")
    method, params = given
    status, answer = await shop.raw(method, params)
    assert (status, answer["description"]) == (400, f"Bad Request: {sentence}")
    assert shop.log("message") == []
    assert shop.log("call")[-1]["executed"] is False


async def test_the_limits_themselves_are_allowed(shop: Shop) -> None:
    """4096 characters after parsing, 64 bytes of data, 100 buttons, 1024 of caption."""
    assert len((await shop.call("sendMessage", chat_id=ANNA, text="😀" * 4096))["text"]) == 4096
    await shop.call("sendMessage", chat_id=ANNA, text="<b>" + "x" * 4096 + "</b>", parse_mode="HTML")
    await shop.call("sendMessage", chat_id=ANNA, text="x", reply_markup=button(callback_data="è" * 32))
    rows = {"inline_keyboard": [[{"text": "x", "callback_data": "y"}] * 8] * 12}
    await shop.call("sendMessage", chat_id=ANNA, text="x", reply_markup=rows)
    await shop.call(
        "sendMessage",
        chat_id=ANNA,
        text="x",
        reply_parameters={"message_id": 777, "allow_sending_without_reply": True},
    )


async def test_people_who_cannot_be_written_to(shop: Shop) -> None:
    """Blocked, deactivated, never started, another bot."""
    bob = await shop.sim.telegram_person(first_name="Bob")
    group = await shop.sim.telegram_chat("supergroup", "Talk", owner=ANNA, admins=[TOKEN])
    assert await shop.refused("sendMessage", chat_id=bob, text="x") == "400 Bad Request: chat not found"
    await shop.act("join", bob, chat=group)
    met = "403 Forbidden: bot can't initiate conversation with a user"
    assert await shop.refused("sendMessage", chat_id=bob, text="x") == met
    await shop.act("block")
    blocked = "403 Forbidden: bot was blocked by the user"
    assert await shop.refused("sendMessage", chat_id=ANNA, text="x") == blocked
    assert await shop.refused("sendChatAction", chat_id=ANNA, action="typing") == blocked
    await shop.act("unblock")
    await shop.act("delete_account")
    gone = "403 Forbidden: user is deactivated"
    assert await shop.refused("sendMessage", chat_id=ANNA, text="x") == gone
    own = "403 Forbidden: the bot can't send messages to the bot"
    assert await shop.refused("sendMessage", chat_id="@shop_example_bot", text="x") == own


@pytest.mark.parametrize("kind", ["group", "supergroup", "channel"])
async def test_groups_and_channels_that_are_closed(shop: Shop, kind: str) -> None:
    """Kicked, left, without the right to post, deleted."""
    chat = await shop.sim.telegram_chat(kind, "Place", owner=ANNA, admins=[TOKEN])
    await shop.call("sendMessage", chat_id=chat, text="x")
    if kind == "channel":
        await shop.sim.telegram_admin(chat, TOKEN, {"can_post_messages": False})
        lacking = "400 Bad Request: need administrator rights in the channel chat"
    else:
        await shop.sim.call("POST", f"/telegram/chats/{chat}/demote", {"token": TOKEN})
        await shop.sim.call("POST", f"/telegram/chats/{chat}/permissions", {"can_send_messages": False})
        lacking = "400 Bad Request: not enough rights to send text messages to the chat"
    assert await shop.refused("sendMessage", chat_id=chat, text="x") == lacking
    await shop.sim.call("POST", f"/telegram/chats/{chat}/kick", {"token": TOKEN})
    kicked = f"403 Forbidden: bot was kicked from the {kind} chat"
    assert await shop.refused("sendMessage", chat_id=chat, text="x") == kicked
    await shop.sim.telegram_admin(chat, TOKEN)
    await shop.call("leaveChat", chat_id=chat)
    left = f"403 Forbidden: bot is not a member of the {kind} chat"
    assert await shop.refused("sendMessage", chat_id=chat, text="x") == left


async def test_rights_in_a_channel(shop: Shop) -> None:
    """Links, pins and bans need their own right."""
    chat = await shop.sim.telegram_chat("channel", "News", owner=ANNA)
    await shop.sim.telegram_admin(chat, TOKEN, {"can_post_messages": True})
    post = await shop.call("sendMessage", chat_id=chat, text="x")
    links = "400 Bad Request: not enough rights to manage chat invite link"
    assert await shop.refused("createChatInviteLink", chat_id=chat) == links
    pins = "400 Bad Request: not enough rights to manage pinned messages in the chat"
    assert await shop.refused("pinChatMessage", chat_id=chat, message_id=post["message_id"]) == pins
    bans = "400 Bad Request: not enough rights to restrict/unrestrict chat member"
    bob = await shop.sim.telegram_person(first_name="Bob")
    assert await shop.refused("banChatMember", chat_id=chat, user_id=bob) == bans
    await shop.sim.telegram_admin(chat, TOKEN)
    missing = "400 Bad Request: HIDE_REQUESTER_MISSING"
    assert await shop.refused("approveChatJoinRequest", chat_id=chat, user_id=bob) == missing
    await shop.act("join", bob, chat=chat)
    there = "400 Bad Request: USER_ALREADY_PARTICIPANT"
    assert await shop.refused("approveChatJoinRequest", chat_id=chat, user_id=bob) == there


async def test_a_tap_is_answered_once_and_in_time(shop: Shop) -> None:
    """A second answer, and one after 150 s, are too late."""
    late = "400 Bad Request: query is too old and response timeout expired or query ID is invalid"
    await shop.call("sendMessage", chat_id=ANNA, text="?", reply_markup=button(callback_data="x"))
    await shop.act("tap", text="B")
    query = (await shop.updates())[0]["callback_query"]["id"]
    await shop.call("answerCallbackQuery", callback_query_id=query)
    assert await shop.refused("answerCallbackQuery", callback_query_id=query) == late
    await shop.act("tap", text="B")
    query = (await shop.updates())[0]["callback_query"]["id"]
    await shop.after(147)
    assert await shop.refused("answerCallbackQuery", callback_query_id=query) == late


async def test_edits_and_deletions_end(shop: Shop) -> None:
    """Nothing changed, no text there, 48 hours over, other people's protection."""
    sent = await shop.call("sendMessage", chat_id=ANNA, text="hi", protect_content=True)
    same = {"chat_id": ANNA, "message_id": sent["message_id"], "text": "hi"}
    assert await shop.refused("editMessageText", **same) == (
        "400 Bad Request: message is not modified: specified new message content and reply markup are exactly "
        "the same as a current content and reply markup of the message"
    )
    where = {"chat_id": ANNA, "message_id": sent["message_id"]}
    nothing = "400 Bad Request: there is no caption in the message to edit"
    assert await shop.refused("editMessageCaption", **where, caption="x") == nothing
    long = "400 Bad Request: MESSAGE_TOO_LONG"
    assert await shop.refused("editMessageText", **where, text="x" * 4097) == long
    protected = "400 Bad Request: message has protected content and can't be forwarded"
    assert await shop.refused("forwardMessage", **where, from_chat_id=ANNA) == protected
    await shop.after(48 * 3600 + 1)
    assert await shop.refused("deleteMessage", **where) == "400 Bad Request: message can't be deleted"


async def test_wrong_doors(shop: Shop) -> None:
    """No such method, no such bot, no token at all, a revoked token, a body that is no JSON, one that is too big."""
    assert await shop.refused("sendTelepathy") == "404 Not Found: method not found"
    assert (await shop.raw("getMe", token="110201599:TEST-none"))[1]["description"] == "Unauthorized"
    assert (await shop.raw("getMe", token="nonsense"))[1]["description"] == "Not Found"
    async with shop.session.post(
        f"{shop.origin}/bot{TOKEN}/getMe", data=b"{oops", headers={"Content-Type": "application/json"}
    ) as response:
        assert response.status == 400
    form = aiohttp.FormData({"chat_id": str(ANNA)})
    form.add_field("document", io.BytesIO(b"x" * (51 * 1024 * 1024 + 1)), filename="big")
    async with shop.session.post(f"{shop.origin}/bot{TOKEN}/sendDocument", data=form) as response:
        assert (response.status, (await response.json())["description"]) == (413, "Request Entity Too Large")
    await shop.sim.call("PATCH", "/telegram/bots", {"token": TOKEN, "revoked": True})
    assert await shop.refused("getMe") == "401 Unauthorized"


async def test_parameters_come_in_four_ways(shop: Shop) -> None:
    """Query string, form, JSON and multipart; the method in any case; numbers and flags as text."""
    url = f"{shop.origin}/bot{TOKEN}/SENDMESSAGE"
    params = {
        "chat_id": str(ANNA),
        "text": "hi",
        "protect_content": "True",
        "reply_markup": '{"force_reply":true}',
    }
    form = aiohttp.FormData()
    for name, value in params.items():
        form.add_field(name, value, content_type="text/plain")
    for request in (
        shop.session.get(url, params=params),
        shop.session.post(url, params=params),
        shop.session.post(url, data=params),
        shop.session.post(url, json=params),
        shop.session.post(url, data=form),
        shop.session.post(f"{shop.origin}/bot{TOKEN}/test/sendMessage", json=params),
    ):
        async with request as response:
            answer = await response.json()
            assert answer["ok"], answer
            assert answer["result"]["has_protected_content"] is True


async def test_files_belong_to_one_bot_and_have_limits(shop: Shop) -> None:
    """Another bot's file_id is no id; what is over 20 MB cannot be fetched; a link holds for an hour."""
    other = "110201544:TEST-other"
    await shop.sim.telegram_bot(other)
    await shop.sim.telegram_act(other, ANNA, "start")
    await shop.act("media", kind="document", name="list.csv")
    await shop.act("media", kind="video", size=21 * 1024 * 1024)
    small, big = await shop.updates()
    file_id = small["message"]["document"]["file_id"]
    _, answer = await shop.raw("sendDocument", {"chat_id": ANNA, "document": file_id}, token=other)
    assert answer["description"] == "Bad Request: wrong file identifier/HTTP URL specified"
    too_big = await shop.refused("getFile", file_id=big["message"]["video"]["file_id"])
    assert too_big == "400 Bad Request: file is too big"
    path = (await shop.call("getFile", file_id=file_id))["file_path"]
    link = f"{shop.origin}/file/bot{TOKEN}/{path}"
    async with shop.session.get(link) as response:
        assert await response.read() == b"simulated document"
    await shop.after(3601)
    async with shop.session.get(link) as response:
        assert response.status == 404


JUNK: list[Any] = [
    *(
        None,
        "",
        0,
        -1,
        2**70,
        "x",
        [],
        {},
        [[]],
        [{}],
        True,
        "{",
        "[1]",
        "\x00",
        [None],
        {"type": "default"},
        "attach://none",
    ),
    *(
        [[{"text": 1, "callback_data": 2}]],
        {"inline_keyboard": [[5]]},
        {"keyboard": [[5]]},
        {"message_id": "q"},
        ANNA,
    ),
]
NAMES = (
    "text parse_mode entities reply_markup reply_parameters message_id message_ids from_chat_id user_id photo document "
    "media caption caption_entities question options type correct_option_id open_period latitude longitude commands "
    "phone_number first_name prices currency title payload callback_query_id scope rights permissions invite_link "
    "member_limit reaction action url secret_token allowed_updates emoji menu_button file_id link_preview_options"
).split()


async def test_junk_is_answered_and_never_breaks_the_server(shop: Shop) -> None:
    """Whatever stands in whichever parameter: an answer of the Bot API, never a crash."""
    chance = random.Random(11)
    methods = sorted({registered.name for registered in METHODS.values()} - {"getUpdates"})
    chat = await shop.sim.telegram_chat("channel", "News", owner=ANNA, admins=[TOKEN])
    for number in range(800):
        params = {name: chance.choice(JUNK) for name in chance.sample(NAMES, 8)}
        params |= {"chat_id": chance.choice([ANNA, chat]), "message_id": chance.randint(1, 5)}
        status, answer = await shop.raw(methods[number % len(methods)], params)
        assert status in (200, 400, 401, 403, 404, 429), (answer, params)
    assert await shop.call("getMe")
