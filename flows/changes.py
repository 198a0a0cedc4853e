"""What a change of a contact means for triggers: the difference of two views, as occasions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from domain.contacts import ContactView
from domain.effects import Effect, RecordConsent, RecordFeedback
from flows.triggers import Occasion

COLUMNS = ("name", "first_name", "last_name", "email", "phone", "language", "timezone")
OF_CONTACT = ("tag_added", "tag_removed", "field_changed")
OF_TURN = (*OF_CONTACT, "consent_given", "consent_withdrawn", "feedback")
AGREED = ("granted", "confirmed", "imported")
_ENDED = ("withdrawn", "denied", "expired")


def between(before: ContactView, after: ContactView) -> list[Occasion]:
    """What happened between two views of one contact, in a fixed order. A tag that was there already is no change."""
    return [*_tags(before, after), *_fields(before, after)]


def _tags(before: ContactView, after: ContactView) -> Iterator[Occasion]:
    if before.tags == after.tags:
        return
    for tag in sorted(after.tags - before.tags):
        yield Occasion(kind="tag_added", what=tag)
    for tag in sorted(before.tags - after.tags):
        yield Occasion(kind="tag_removed", what=tag)


def _fields(before: ContactView, after: ContactView) -> Iterator[Occasion]:
    for name in COLUMNS:
        value = getattr(after, name)
        if value != getattr(before, name):
            yield Occasion(kind="field_changed", what=name, value=value)
    if before.fields == after.fields:
        return
    for key in sorted(before.fields.keys() | after.fields.keys()):
        value = after.fields.get(key)
        if value != before.fields.get(key):
            yield Occasion(kind="field_changed", what=key, value=value)


def of_turn(before: ContactView, after: ContactView, effects: Sequence[Effect]) -> list[Occasion]:
    """What a turn of a flow changed, and what it recorded: consent and scores."""
    found = between(before, after)
    agreed = {purpose for purpose, state in before.consents.items() if state in AGREED}
    for effect in effects:
        match effect:
            case RecordConsent(purpose=purpose, action=action):
                if action == "granted" and effect.double_opt_in:
                    continue  # it counts when it is confirmed
                if action in AGREED and (purpose not in agreed or action == "confirmed"):
                    agreed.add(purpose)
                    found.append(Occasion(kind="consent_given", what=purpose, value=action))
                elif action in _ENDED and purpose in agreed:
                    agreed.discard(purpose)
                    found.append(Occasion(kind="consent_withdrawn", what=purpose, value=action))
            case RecordFeedback(comment=""):  # a comment comes behind its score, which was heard
                data = {"topic": effect.topic}
                found.append(Occasion(kind="feedback", what=effect.kind, value=effect.score, data=data))
    return found


def opted_out(contact: ContactView) -> list[Occasion]:
    """What STOP or the platform's own switch takes back: everything, where there was anything."""
    if not any(state in AGREED for state in contact.consents.values()):
        return []
    return [Occasion(kind="consent_withdrawn", what="*", value="withdrawn")]
