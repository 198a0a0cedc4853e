"""`patch_contact`: changes to the contact, merged with others' when the batch is written."""

from __future__ import annotations

from bot.effects import applies
from bot.scope import Scope
from crm.contacts import ContactPatch
from domain.effects import PatchContact


@applies(PatchContact)
def patch_contact(scope: Scope, effect: PatchContact) -> None:
    """Adds the patch for this conversation's contact."""
    if scope.conversation is not None:
        scope.batch.patches.append(ContactPatch(scope.workspace_id, scope.conversation.contact_id, effect))
