"""sendMessage, sendChatAction and the drafts of a text that is still being written."""

from __future__ import annotations

from simulators.telegram import places, text
from simulators.telegram.calls import Call, method
from simulators.telegram.errors import bad
from simulators.telegram.methods.sending import TEXT_LIMIT, reply_parameters, send
from simulators.telegram.state import Wire

CHAT_ACTIONS = frozenset(
    "typing upload_photo record_video upload_video record_voice upload_voice record_audio upload_audio "
    "upload_document choose_sticker pick_up_location find_location record_video_note upload_video_note cancel".split()
)


def read_text(call: Call) -> Wire:
    """The checked `text` of a call as message content."""
    params = call.params
    raw = params.text("text")
    if not raw:
        raise bad("message text is empty")
    entities = (
        params.json("entities", "can't parse entities JSON object") if "entities" in params.values else None
    )
    result = text.formatted(raw, params.text("parse_mode"), entities)
    if not result.text:
        raise bad("message text is empty")
    content: Wire = {"text": result.text}
    if result.entities:
        content["entities"] = result.entities
    preview = params.json("link_preview_options", "can't parse link preview options JSON object")
    if isinstance(preview, dict) and preview:
        content["link_preview_options"] = preview
    elif params.flag("disable_web_page_preview"):
        content["link_preview_options"] = {"is_disabled": True}
    return content


@method("sendMessage")
def send_message(call: Call) -> Wire:
    """Checks in the server's order: text, entities, reply and markup, chat and rights, length, flood."""
    content = read_text(call)
    reply = reply_parameters(call)
    markup = call.markup()
    place = call.place()
    places.check_send(call.bot, place, "text")
    if len(content["text"]) > TEXT_LIMIT:
        raise bad("message is too long")
    return send(call, place, "text", content, markup=markup, reply=reply)


@method("sendChatAction")
def send_chat_action(call: Call) -> bool:
    action = call.params.text("action").lower()
    if action not in CHAT_ACTIONS:
        raise bad("wrong parameter action in request")
    place = call.accessible()
    call.tg.world.show("typing", call.tg.name, endpoint=call.bot.token, to=str(place.id), action=action)
    return True
