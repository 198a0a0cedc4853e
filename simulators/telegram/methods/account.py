"""What a bot says about itself: getMe, commands, names, descriptions, the menu button."""

from __future__ import annotations

import re
from typing import Any

from simulators.telegram.calls import Call, Result, method
from simulators.telegram.errors import bad
from simulators.telegram.objects import rights_for
from simulators.telegram.state import Wire

COMMANDS_LIMIT = 100
COMMAND = re.compile(r"^[a-z0-9_]{1,32}$")
DESCRIPTION_LIMIT = 256
TEXT_LIMITS = {"name": 64, "description": 512, "short_description": 120}


@method("getMe")
def get_me(call: Call) -> Wire:
    return {
        **call.bot.user,
        "can_join_groups": True,
        "can_read_all_group_messages": call.bot.can_read_all_group_messages,
        "supports_inline_queries": False,
        "can_connect_to_business": False,
        "has_main_web_app": False,
        "has_topics_enabled": False,
        "allows_users_to_create_topics": False,
        "can_manage_bots": False,
    }


def _scope(call: Call) -> str:
    """The key under which commands are kept: scope, chat, user and language."""
    scope = call.params.json("scope", "can't parse BotCommandScope JSON object") or {"type": "default"}
    if not isinstance(scope, dict):
        raise bad("can't parse BotCommandScope: Expected an Object")
    kinds = "default all_private_chats all_group_chats all_chat_administrators chat chat_administrators chat_member"
    if scope.get("type") not in kinds.split():
        raise bad("can't parse BotCommandScope: Unsupported type specified")
    return (
        "/".join(str(scope.get(part, "")) for part in ("type", "chat_id", "user_id"))
        + "/"
        + call.params.text("language_code")
    )


@method("setMyCommands")
def set_my_commands(call: Call) -> bool:
    given = call.params.json("commands", "can't parse commands JSON object")
    if given is None:
        given = []
    if not isinstance(given, list):
        raise bad("expected an Array of BotCommand")
    if len(given) > COMMANDS_LIMIT:
        raise bad("too many commands specified")
    call.bot.commands[_scope(call)] = [_command(each) for each in given]
    return True


def _command(given: Any) -> Wire:
    if not isinstance(given, dict):
        raise bad("can't parse BotCommand: Expected an Object")
    name, description = (
        str(given.get("command", "")).removeprefix("/").lower(),
        str(given.get("description", "")),
    )
    if not COMMAND.match(name):
        raise bad("BOT_COMMAND_INVALID")
    if not 1 <= len(description.strip()) <= DESCRIPTION_LIMIT:
        raise bad("BOT_COMMAND_DESCRIPTION_INVALID")
    return {"command": name, "description": description.strip()}


@method("getMyCommands")
def get_my_commands(call: Call) -> list[Wire]:
    return call.bot.commands.get(_scope(call), [])


@method("deleteMyCommands")
def delete_my_commands(call: Call) -> bool:
    call.bot.commands.pop(_scope(call), None)
    return True


def _set_text(call: Call, field: str) -> bool:
    value = call.params.text(field)
    if len(value) > TEXT_LIMITS[field]:
        raise bad(f"bot {field.replace('_', ' ')} is too long")
    language = call.params.text("language_code")
    call.bot.texts[f"{field}/{language}"] = value
    if field == "name" and not language and value:
        call.bot.first_name = value
        call.bot.refresh()
    return True


def _get_text(call: Call, field: str) -> Wire:
    texts = call.bot.texts
    default = call.bot.first_name if field == "name" else ""
    return {
        field: texts.get(f"{field}/{call.params.text('language_code')}") or texts.get(f"{field}/", default)
    }


@method("setMyName")
def set_my_name(call: Call) -> bool:
    return _set_text(call, "name")


@method("getMyName")
def get_my_name(call: Call) -> Wire:
    return _get_text(call, "name")


@method("setMyDescription")
def set_my_description(call: Call) -> bool:
    return _set_text(call, "description")


@method("getMyDescription")
def get_my_description(call: Call) -> Wire:
    return _get_text(call, "description")


@method("setMyShortDescription")
def set_my_short_description(call: Call) -> bool:
    return _set_text(call, "short_description")


@method("getMyShortDescription")
def get_my_short_description(call: Call) -> Wire:
    return _get_text(call, "short_description")


@method("setChatMenuButton")
def set_chat_menu_button(call: Call) -> bool:
    button = call.params.json("menu_button", "can't parse menu button JSON object") or {"type": "default"}
    if not isinstance(button, dict) or button.get("type") not in ("commands", "web_app", "default"):
        raise bad("can't parse MenuButton: MenuButton has unsupported type")
    if call.params.has("chat_id"):
        call.place().dialog.menu_button = button
    else:
        call.bot.menu_button = button
    return True


@method("getChatMenuButton")
def get_chat_menu_button(call: Call) -> Wire:
    chosen = call.place().dialog.menu_button if call.params.has("chat_id") else None
    return chosen or call.bot.menu_button


@method("setMyDefaultAdministratorRights")
def set_my_default_administrator_rights(call: Call) -> bool:
    given = call.params.json("rights", "can't parse rights JSON object") or {}
    if not isinstance(given, dict):
        raise bad("can't parse ChatAdministratorRights: expected an Object")
    kind = "channel" if call.params.flag("for_channels") else "group"
    call.bot.default_rights[kind] = {name: bool(given.get(name)) for name in rights_for(kind)}
    return True


@method("getMyDefaultAdministratorRights")
def get_my_default_administrator_rights(call: Call) -> Wire:
    kind = "channel" if call.params.flag("for_channels") else "group"
    rights = call.bot.default_rights.get(kind, dict.fromkeys(rights_for(kind), False))
    return {"is_anonymous": False, **rights}


@method("getMyStarBalance")
def get_my_star_balance(call: Call) -> Result:
    return Result({"amount": call.bot.stars // 10})
