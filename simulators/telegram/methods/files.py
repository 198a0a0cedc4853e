"""getFile: the way to a file's bytes, for an hour."""

from __future__ import annotations

from simulators.telegram.calls import Call, method
from simulators.telegram.errors import bad
from simulators.telegram.files import DOWNLOAD_LIMIT
from simulators.telegram.state import Wire


@method("getFile")
def get_file(call: Call) -> Wire:
    file_id = call.params.text("file_id")
    if not file_id:
        raise bad("file_id not specified")
    stored = call.tg.files.known(call.bot, file_id)
    if stored is None:
        raise bad("invalid file_id")
    if stored.size > DOWNLOAD_LIMIT:
        raise bad("file is too big")
    return {
        "file_id": file_id,
        "file_unique_id": stored.unique_id,
        "file_size": stored.size,
        "file_path": call.tg.files.path_for(call.bot, stored),
    }


@method("getUserProfilePhotos")
def get_user_profile_photos(call: Call) -> Wire:
    if call.params.integer("user_id") not in call.tg.people:
        raise bad("user not found")
    return {"total_count": 0, "photos": []}
