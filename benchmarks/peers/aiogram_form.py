"""The form with aiogram 3: a finite-state machine in memory, or on Redis when an address is given.

As its documentation shows it: a `StatesGroup` with one state per question, answers by `update_data`, handlers in a
router, and the webhook by `SimpleRequestHandler` and `setup_application` on aiohttp. But for the number of connections
to Redis everything else is its default: an update is answered 200 at once and handled in a task of its own, and the API
is called over aiogram's own session. It runs on uvloop like the others.
"""

from __future__ import annotations

from typing import Any

import uvloop
from aiogram import Bot, Dispatcher, F, Router
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.filters import CommandStart
from aiogram.fsm.context import FSMContext
from aiogram.fsm.state import State, StatesGroup
from aiogram.fsm.storage.base import BaseStorage
from aiogram.fsm.storage.memory import MemoryStorage
from aiogram.types import CallbackQuery, InlineKeyboardButton, InlineKeyboardMarkup, Message
from aiogram.webhook.aiohttp_server import SimpleRequestHandler, setup_application
from aiohttp import web

from benchmarks.peers import form

# To Redis. With the client's default, 100, an update that finds them all busy fails and its person gets no answer.
CONNECTIONS = 1_000

router = Router()
BUTTONS = InlineKeyboardMarkup(
    inline_keyboard=[
        [
            InlineKeyboardButton(text=form.YES, callback_data="yes"),
            InlineKeyboardButton(text=form.NO, callback_data="no"),
        ]
    ]
)


class Lead(StatesGroup):
    """One state per question."""

    name = State()
    email = State()
    phone = State()
    consent = State()


@router.message(CommandStart())
async def start(message: Message, state: FSMContext) -> None:
    await state.set_state(Lead.name)
    await message.answer(form.ASK_NAME)


@router.message(Lead.name, F.text)
async def name(message: Message, state: FSMContext) -> None:
    said = message.text or ""
    await state.update_data(name=said)
    await state.set_state(Lead.email)
    await message.answer(form.ASK_EMAIL.format(name=said.split()[0]))


@router.message(Lead.email, F.text.regexp(form.EMAIL))
async def email(message: Message, state: FSMContext) -> None:
    await state.update_data(email=message.text)
    await state.set_state(Lead.phone)
    await message.answer(form.ASK_PHONE)


@router.message(Lead.email)
async def wrong_email(message: Message) -> None:
    await message.answer(form.WRONG_EMAIL)


@router.message(Lead.phone, F.text)
async def phone(message: Message, state: FSMContext) -> None:
    await state.update_data(phone=message.text)
    await state.set_state(Lead.consent)
    await message.answer(form.ASK_CONSENT, reply_markup=BUTTONS)


@router.callback_query(Lead.consent)
async def consent(query: CallbackQuery, state: FSMContext, bot: Bot, contacts: form.Contacts) -> None:
    await query.answer()
    answers: dict[str, Any] = await state.get_data()
    await state.clear()
    await contacts.add(query.from_user.id, **answers, consent=query.data == "yes")
    await bot.send_message(query.from_user.id, form.DONE.format(name=answers["name"].split()[0]))


async def main() -> None:
    """Serves until it is told to end."""
    given = form.arguments()
    contacts = await form.Contacts.open(given.folder)
    bot = Bot(given.token, session=AiohttpSession(api=TelegramAPIServer.from_base(given.api)))
    dispatcher = Dispatcher(storage=_storage(given.redis), contacts=contacts)
    dispatcher.include_router(router)
    application = web.Application()
    SimpleRequestHandler(dispatcher, bot, secret_token=given.secret).register(
        application, path=f"/{given.path}"
    )
    setup_application(application, dispatcher, bot=bot)
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", given.port).start()
    await bot.set_webhook(given.url, secret_token=given.secret)
    form.ready(given.port)
    await form.told_to_end()
    await runner.cleanup()
    await contacts.close()


def _storage(redis: str) -> BaseStorage:
    if not redis:
        return MemoryStorage()
    from aiogram.fsm.storage.redis import RedisStorage

    return RedisStorage.from_url(redis, connection_kwargs={"max_connections": CONNECTIONS})


if __name__ == "__main__":
    uvloop.run(main())
