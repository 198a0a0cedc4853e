"""What the engine may know of the channel that a conversation runs on: plain facts, passed in by whoever calls it."""

from __future__ import annotations

from msgspec import Struct


class ChannelView(Struct, frozen=True, omit_defaults=True):
    """A channel as flows see it.

    `link` is the address that opens it with a payload, `{}` standing for that (`https://t.me/<bot>?start={}`); empty
    where the channel's public name is not known. `choices`: how many it shows as buttons or rows, 0 when not known.
    `key` makes and proves the codes of referrals (`flows.referrals`) and is shown to nobody.
    """

    kind: str
    name: str = ""
    link: str = ""
    choices: int = 0
    key: str = ""

    def deep_link(self, payload: str) -> str:
        """The address that brings somebody here with this payload (letters, digits, _ and -); "" when there is none."""
        return self.link.replace("{}", payload) if self.link else ""


_CHOICES = {"telegram": 100, "whatsapp": 10}
_LINKS = {
    "telegram": "https://t.me/example_bot?start={}",
    "whatsapp": "https://wa.me/15550100100?text=%28ref%3A{}%29",
}


def sample(kind: str) -> ChannelView:
    """A channel to rehearse flows on."""
    return ChannelView(
        kind, name="example", link=_LINKS.get(kind, ""), choices=_CHOICES.get(kind, 0), key="rehearsal"
    )
