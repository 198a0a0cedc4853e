"""The form with python-telegram-bot: ConversationHandler, PicklePersistence, its own webhook server.

As its documentation shows it: the handlers follow its example `conversationbot` (one state per question, the answers
in `user_data`, cleared at the end) and, for the buttons, `inlinekeyboard`; the conversation is `persistent` with the
default interval of PicklePersistence; the webhook is `Updater.start_webhook` beside other code, as the library's wiki
has it. Everything else is its default: updates are handled one after the other. (With `block=False` they are not, but
then a person's next message may come before the state of the conversation is set, and is dropped.) It runs on uvloop
like the others.
"""

from __future__ import annotations

from typing import Any

import uvloop
from telegram import InlineKeyboardButton, InlineKeyboardMarkup, Update
from telegram.ext import (
    Application,
    CallbackQueryHandler,
    CommandHandler,
    ContextTypes,
    ConversationHandler,
    MessageHandler,
    PersistenceInput,
    PicklePersistence,
    filters,
)

from benchmarks.peers import form

Context = ContextTypes.DEFAULT_TYPE
NAME, EMAIL, PHONE, CONSENT = range(4)
BUTTONS = InlineKeyboardMarkup(
    [[InlineKeyboardButton(form.YES, callback_data="yes"), InlineKeyboardButton(form.NO, callback_data="no")]]
)


async def start(update: Update, context: Context) -> int:
    await _say(update, form.ASK_NAME)
    return NAME


async def name(update: Update, context: Context) -> int:
    said = _said(update)
    _answers(context)["name"] = said
    await _say(update, form.ASK_EMAIL.format(name=said.split()[0]))
    return EMAIL


async def email(update: Update, context: Context) -> int:
    _answers(context)["email"] = _said(update)
    await _say(update, form.ASK_PHONE)
    return PHONE


async def wrong_email(update: Update, context: Context) -> int:
    await _say(update, form.WRONG_EMAIL)
    return EMAIL


async def phone(update: Update, context: Context) -> int:
    _answers(context)["phone"] = _said(update)
    assert update.message is not None
    await update.message.reply_text(form.ASK_CONSENT, reply_markup=BUTTONS)
    return CONSENT


async def consent(update: Update, context: Context) -> int:
    query, person = update.callback_query, update.effective_user
    assert query is not None
    assert person is not None
    await query.answer()
    answers = _answers(context)
    contacts: form.Contacts = context.bot_data["contacts"]
    await contacts.add(person.id, **answers, consent=query.data == "yes")
    await context.bot.send_message(person.id, form.DONE.format(name=answers["name"].split()[0]))
    answers.clear()
    return ConversationHandler.END


def _said(update: Update) -> str:
    assert update.message is not None
    return update.message.text or ""


async def _say(update: Update, text: str) -> None:
    assert update.message is not None
    await update.message.reply_text(text)


def _answers(context: Context) -> dict[Any, Any]:
    assert context.user_data is not None
    return context.user_data


async def main() -> None:
    """Serves until it is told to end."""
    given = form.arguments()
    contacts = await form.Contacts.open(given.folder)
    persistence = PicklePersistence(
        given.folder / "conversations.pickle",
        store_data=PersistenceInput(bot_data=False),  # it holds the open database
    )
    said = filters.TEXT & ~filters.COMMAND
    application = (
        Application.builder().token(given.token).base_url(f"{given.api}/bot").persistence(persistence).build()
    )
    application.add_handler(
        ConversationHandler(
            entry_points=[CommandHandler("start", start)],
            states={
                NAME: [MessageHandler(said, name)],
                EMAIL: [
                    MessageHandler(said & filters.Regex(form.EMAIL), email),
                    MessageHandler(said, wrong_email),
                ],
                PHONE: [MessageHandler(said, phone)],
                CONSENT: [CallbackQueryHandler(consent)],
            },
            fallbacks=[CommandHandler("start", start)],
            name="lead",
            persistent=True,
        )
    )
    async with application:
        application.bot_data["contacts"] = contacts
        await application.start()
        assert application.updater is not None
        await application.updater.start_webhook(
            listen="127.0.0.1",
            port=given.port,
            url_path=given.path,
            webhook_url=given.url,
            secret_token=given.secret,
        )
        form.ready(given.port)
        await form.told_to_end()
        await application.updater.stop()
        await application.stop()
    await contacts.close()


if __name__ == "__main__":
    uvloop.run(main())
