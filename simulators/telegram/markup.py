"""reply_markup: what the server accepts, how it refuses the rest, and which buttons a person can tap."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from simulators.telegram.errors import ApiError, bad
from simulators.telegram.params import Params
from simulators.wire import compact

Wire = dict[str, Any]

BUTTONS_LIMIT = 100
# The serialised markup; Telegram refuses bigger ones without naming the figure.
MARKUP_BYTES_LIMIT = 10_240
DATA_BYTES_LIMIT = 64
COPY_TEXT_LIMIT = 256
URL_LIMIT = 2048

INLINE_ACTIONS = (
    "url",
    "callback_data",
    "web_app",
    "login_url",
    "switch_inline_query",
    "switch_inline_query_current_chat",
    "switch_inline_query_chosen_chat",
    "copy_text",
    "callback_game",
    "pay",
)
KEYBOARD_REQUESTS = (
    "request_users",
    "request_chat",
    "request_contact",
    "request_location",
    "request_poll",
    "web_app",
)


def read(params: Params) -> Wire | None:
    """The reply_markup of a call, checked; None when there is none."""
    value = params.json("reply_markup", "can't parse reply keyboard markup JSON object")
    if value is None or value == {}:
        return None
    if not isinstance(value, dict):
        raise bad("object expected as reply markup")
    if "inline_keyboard" in value:
        return _inline(value["inline_keyboard"])
    if "keyboard" in value:
        return _reply_keyboard(value)
    if value.get("remove_keyboard"):
        return {"remove_keyboard": True}
    if value.get("force_reply"):
        return {"force_reply": True}
    return None


def _rows(value: Any, field: str, owner: str) -> list[list[Any]]:
    if not isinstance(value, list) or not all(isinstance(row, list) for row in value):
        raise bad(f'field "{field}" of the {owner} must be an Array of Arrays')
    return value


def _inline(value: Any) -> Wire:
    rows = _rows(value, "inline_keyboard", "InlineKeyboardMarkup")
    built = [[_inline_button(button) for button in row] for row in rows if row]
    markup = {"inline_keyboard": built}
    if sum(map(len, built)) > BUTTONS_LIMIT or len(compact(markup)) > MARKUP_BYTES_LIMIT:
        raise bad("reply markup is too long")
    return markup


def _inline_button(button: Any) -> Wire:
    if not isinstance(button, dict):
        raise _unreadable("InlineKeyboardButton must be an Object")
    text = _string(button, "text", needed=True)
    if not text:
        raise bad("inline keyboard button text must be non-empty")
    actions = [name for name in INLINE_ACTIONS if button.get(name) is not None and button[name] is not False]
    if not actions:
        raise _unreadable("Text buttons are unallowed in the inline keyboard")
    action = actions[0]
    built: Wire = {"text": text}
    if action == "url":
        built["url"] = _url(_string(button, "url"))
    elif action == "callback_data":
        data = _string(button, "callback_data")
        if not 1 <= len(data.encode()) <= DATA_BYTES_LIMIT:
            raise bad("BUTTON_DATA_INVALID")
        built["callback_data"] = data
    elif action == "web_app":
        target = _object(button, "web_app")
        built["web_app"] = {"url": _web_app_url(_string(target, "url", needed=True))}
    elif action == "copy_text":
        copied = _string(_object(button, "copy_text"), "text", needed=True)
        if not 1 <= len(copied) <= COPY_TEXT_LIMIT:
            raise bad("BUTTON_COPY_TEXT_INVALID")
        built["copy_text"] = {"text": copied}
    elif action == "login_url":
        # Shown to people as an ordinary link, as the server does in what it gives back to other bots.
        built["login_url"] = _object(button, "login_url")
    else:
        built[action] = button[action]
    for extra in ("style", "icon_custom_emoji_id"):
        if extra in button:
            built[extra] = button[extra]
    if built.get("style") not in (None, "danger", "success", "primary"):
        raise _unreadable("invalid button style specified")
    return built


def _unreadable(sentence: str) -> ApiError:
    return bad(f"can't parse inline keyboard button: {sentence}")


def _string(button: Mapping[str, Any], name: str, *, needed: bool = False) -> str:
    value = button.get(name)
    if value is None:
        if needed:
            raise _unreadable(f'Can\'t find field "{name}"')
        return ""
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return str(value)
    if not isinstance(value, str):
        raise _unreadable(f'Field "{name}" must be of type String')
    return value


def _object(button: Mapping[str, Any], name: str) -> Wire:
    value = button[name]
    if not isinstance(value, dict):
        raise _unreadable(f'Field "{name}" must be of type Object')
    return value


_HOST = re.compile(r"^[^\s/?#@]+$")


def _url(url: str) -> str:
    if len(url) > URL_LIMIT or re.search(r"\s", url):
        raise bad("BUTTON_URL_INVALID")
    scheme, mark, rest = url.partition("://")
    if not mark:
        scheme, rest = "http", url
        url = f"http://{url}"
    if scheme.lower() in ("tg", "ton"):
        return url
    if scheme.lower() not in ("http", "https"):
        raise bad(f"inline keyboard button URL '{url}' is invalid: Unsupported URL protocol")
    host = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2].partition(":")[0]
    if not _HOST.match(host) or "." not in host.strip("."):
        raise bad(f"inline keyboard button URL '{url}' is invalid: Wrong HTTP URL")
    return url if re.search(r"[/?#]", rest) else f"{url}/"


def _web_app_url(url: str) -> str:
    if not url.lower().startswith("https://"):
        raise bad(f"inline keyboard button Web App URL '{url}' is invalid: Only HTTPS links are allowed")
    return url


def _reply_keyboard(value: Wire) -> Wire:
    rows = _rows(value["keyboard"], "keyboard", "ReplyKeyboardMarkup")
    built = [[_key(button) for button in row] for row in rows if row]
    markup: Wire = {"keyboard": built}
    for flag in ("resize_keyboard", "one_time_keyboard", "is_persistent"):
        if value.get(flag):
            markup[flag] = True
    placeholder = value.get("input_field_placeholder")
    if placeholder:
        markup["input_field_placeholder"] = str(placeholder)[:64]
    if len(compact(markup)) > MARKUP_BYTES_LIMIT:
        raise bad("reply markup is too long")
    return markup


def _key(button: Any) -> Wire:
    if isinstance(button, str):
        button = {"text": button}
    if not isinstance(button, dict):
        raise bad("can't parse keyboard button: KeyboardButton must be a String or an Object")
    text = button.get("text")
    if text is None:
        raise bad("can't parse keyboard button: Can't find field \"text\"")
    if not isinstance(text, str):
        raise bad('can\'t parse keyboard button: Field "text" must be of type String')
    built: Wire = {"text": text}
    for request in KEYBOARD_REQUESTS:
        if button.get(request):
            built[request] = button[request]
    return built


def check_place(markup: Wire | None, private: bool) -> None:
    """Buttons that ask a person for their number or place exist in private chats only."""
    if markup is None or private:
        return
    for row in markup.get("keyboard", ()):
        for button in row:
            if "request_contact" in button:
                raise bad("phone number can be requested in private chats only")
            if "request_location" in button:
                raise bad("location can be requested in private chats only")


def tappable(markup: Wire | None) -> tuple[Mapping[str, str], ...]:
    """What can be tapped: `{"text", "id"}` (callback data, or the text of a key), with `url` for links."""
    if markup is None:
        return ()
    buttons: list[Mapping[str, str]] = []
    for row in markup.get("inline_keyboard", ()):
        for button in row:
            if "callback_data" in button:
                buttons.append({"text": button["text"], "id": button["callback_data"]})
            elif "url" in button:
                buttons.append({"text": button["text"], "id": "", "url": button["url"]})
            else:
                buttons.append({"text": button["text"], "id": ""})
    for row in markup.get("keyboard", ()):
        buttons.extend({"text": button["text"], "id": button["text"]} for button in row)
    return tuple(buttons)
