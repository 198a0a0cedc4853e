"""python-telegram-bot's Bot, a client written by others, works against the simulated Telegram."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from telegram import (
    Bot,
    BotCommand,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    InputMediaPhoto,
    ReplyKeyboardMarkup,
)
from telegram.error import (
    BadRequest,
    ChatMigrated,
    Conflict,
    Forbidden,
    InvalidToken,
    NetworkError,
    RetryAfter,
)

from simulators.telegram.files import plain_png
from tests.simulators.telegram_shop import ANNA, TOKEN, AiohttpRequest, Shop, open_shop


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    async with open_shop(virtual=False) as opened:
        yield opened


@pytest.fixture
async def bot(shop: Shop) -> AsyncIterator[Bot]:
    async with shop.client() as client:
        yield client


async def test_it_introduces_itself(bot: Bot) -> None:
    """getMe at the start, commands and texts as they were set."""
    assert bot.username == "shop_example_bot"
    await bot.set_my_commands([BotCommand("start", "Begin"), BotCommand("stop", "No more messages")])
    assert [command.command for command in await bot.get_my_commands()] == ["start", "stop"]
    await bot.set_my_description("A shop")
    assert (await bot.get_my_description()).description == "A shop"


async def test_it_talks(shop: Shop, bot: Bot) -> None:
    """Send, tap, answer, edit, reply, delete: the round of a conversation."""
    markup = InlineKeyboardMarkup([[InlineKeyboardButton("Prices", callback_data="price")]])
    sent = await bot.send_message(ANNA, "<b>Hello</b> Ann", parse_mode="HTML", reply_markup=markup)
    assert sent.entities[0].type == "bold"
    await shop.act("tap", text="prices")
    (update,) = await bot.get_updates(timeout=5)
    assert update.callback_query is not None
    assert await update.callback_query.answer("One moment", show_alert=True)
    assert shop.log("toast")[0]["text"] == "One moment"
    edited = await bot.edit_message_text("Here you are", ANNA, sent.message_id)
    assert not isinstance(edited, bool)
    assert (edited.text, edited.reply_markup) == ("Here you are", None)
    answer = await bot.send_message(ANNA, "more?", reply_to_message_id=sent.message_id)
    assert answer.reply_to_message is not None
    copied = await bot.copy_message(ANNA, ANNA, answer.message_id)
    assert await bot.delete_messages(ANNA, [answer.message_id, copied.message_id])
    keyboard = ReplyKeyboardMarkup([["Yes", "No"]], one_time_keyboard=True)
    await bot.send_message(ANNA, "sure?", reply_markup=keyboard)
    await shop.act("tap", text="yes")
    assert (await bot.get_updates(offset=update.update_id + 1))[0].message.text == "Yes"  # type: ignore[union-attr]


async def test_it_uploads_and_downloads(bot: Bot) -> None:
    """Bytes go up as multipart, come back by getFile, and are sent again by their id."""
    picture = plain_png(400, 300)
    sent = await bot.send_photo(ANNA, picture, caption="front")
    file = await bot.get_file(sent.photo[-1].file_id)
    assert file.file_size == len(picture)
    album = await bot.send_media_group(
        ANNA, [InputMediaPhoto(picture, caption="a"), InputMediaPhoto(plain_png(50, 50))]
    )
    assert len({message.media_group_id for message in album}) == 1
    document = await bot.send_document(ANNA, b"name;age\n", filename="list.csv")
    assert document.document is not None
    assert document.document.file_name == "list.csv"
    assert (await bot.send_document(ANNA, document.document.file_id)).document == document.document


async def test_it_understands_every_refusal(shop: Shop, bot: Bot) -> None:
    """The errors arrive as the library's own types."""
    with pytest.raises(BadRequest, match="Chat not found"):
        await bot.send_message(999, "hi")
    await shop.act("block")
    with pytest.raises(Forbidden, match="bot was blocked by the user"):
        await bot.send_message(ANNA, "hi")
    await shop.act("unblock")
    await shop.sim.fault("telegram", "429", retry_after=7)
    with pytest.raises(RetryAfter) as caught:
        await bot.send_message(ANNA, "hi")
    assert caught.value.retry_after == timedelta(seconds=7)
    await shop.sim.fault("telegram", "502_html")
    with pytest.raises(NetworkError):
        await bot.send_message(ANNA, "hi")
    group = await shop.sim.telegram_chat("group", "Friends", admins=[TOKEN])
    new = (await shop.sim.call("POST", f"/telegram/chats/{group}/upgrade"))["id"]
    with pytest.raises(ChatMigrated) as moved:
        await bot.send_message(group, "hi")
    assert moved.value.new_chat_id == new
    await bot.set_webhook(shop.receiver.url)
    with pytest.raises(Conflict, match="webhook is active"):
        await bot.get_updates()


async def test_a_wrong_token_is_told(shop: Shop) -> None:
    """An unknown token is unauthorised."""
    stranger = Bot("110201544:TEST-other", base_url=f"{shop.origin}/bot", request=AiohttpRequest())
    with pytest.raises(InvalidToken):
        await stranger.initialize()
    await stranger.shutdown()
