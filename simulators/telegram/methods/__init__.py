"""The methods of the Bot API, one file per subject; importing this package registers them all."""

from __future__ import annotations

from simulators.telegram.methods import (
    account,
    callbacks,
    chats,
    editing,
    files,
    forwarding,
    invites,
    media,
    members,
    others,
    texts,
    webhooks,
)

LOADED = (
    account,
    callbacks,
    chats,
    editing,
    files,
    forwarding,
    invites,
    media,
    members,
    others,
    texts,
    webhooks,
)
