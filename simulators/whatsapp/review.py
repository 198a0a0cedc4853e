"""The life of a template after it was handed in: review, quality, pauses, changes of category - each with its webhook.

    PENDING ─┬─ APPROVED ── RED quality ── PAUSED (3 h, then 6 h) ── APPROVED … third time DISABLED
             └─ REJECTED

https://developers.facebook.com/docs/whatsapp/message-templates/guidelines and …/webhooks/reference/message_template_*
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from simulators.whatsapp.errors import GraphError
from simulators.whatsapp.templates import (
    EXISTS,
    LIMIT_PER_ACCOUNT,
    TOO_MANY,
    Template,
    check_category,
    check_components,
    check_definition,
)
from simulators.world import ControlError

if TYPE_CHECKING:
    from simulators.whatsapp.network import WhatsApp

STATUSES = (
    "APPROVED", "PENDING", "REJECTED", "PAUSED", "DISABLED", "FLAGGED", "LOCKED", "ARCHIVED", "UNARCHIVED", "DELETED",
    "PENDING_DELETION", "IN_APPEAL", "REINSTATED", "LIMIT_EXCEEDED",
)  # fmt: skip
# What the list shows after an event that is not itself a status.
_BECOMES = {"UNARCHIVED": "APPROVED", "REINSTATED": "APPROVED", "FLAGGED": "APPROVED"}
QUALITIES = ("GREEN", "YELLOW", "RED", "UNKNOWN")
PAUSE_S = (3 * 3600, 6 * 3600)
EDIT_EVERY_S = 24 * 3600
EDITS_MAX, EDITS_SPAN_S = 10, 30 * 24 * 3600


class Review:
    def __init__(self, network: WhatsApp) -> None:
        self._network = network

    def create(self, account_id: str, spec: dict[str, Any]) -> Template:
        """Check a definition and queue it for review; raises GraphError."""
        fields = check_definition(spec)
        network = self._network
        if network.find_template(account_id, fields["name"], fields["language"]) is not None:
            raise GraphError(
                100,
                f"There is already {fields['language']} content for this template.",
                subcode=EXISTS,
                message="Invalid parameter",
                user_title="Content in this language already exists",
            )
        if len(network.templates_of(account_id)) >= LIMIT_PER_ACCOUNT:
            raise GraphError(
                100, f"at most {LIMIT_PER_ACCOUNT} templates", subcode=TOO_MANY, message="Invalid parameter"
            )
        template = Template(id=network.new_id(), account_id=account_id, **fields)
        network.keep_template(template)
        self._await_review(template)
        return template

    def edit(self, template: Template, spec: dict[str, Any]) -> None:
        """Change components or category, which starts the review anew; raises GraphError."""
        now = self._network.world.clock.now()
        if template.status not in ("APPROVED", "REJECTED", "PAUSED"):
            raise GraphError(
                100, f"a template that is {template.status} cannot be edited", message="Invalid parameter"
            )
        if template.status == "APPROVED":
            template.edits = [at for at in template.edits if at > now - EDITS_SPAN_S]
            if (template.edits and template.edits[-1] > now - EDIT_EVERY_S) or len(
                template.edits
            ) >= EDITS_MAX:
                raise GraphError(
                    100, "an approved template can be edited once in 24 hours", message="Invalid parameter"
                )
            if "category" in spec and check_category(spec["category"]) != template.category:
                raise GraphError(
                    100, "the category of an approved template is fixed", message="Invalid parameter"
                )
        if "category" in spec:
            template.category = check_category(spec["category"])
        if "components" in spec:
            template.components = check_components(
                spec["components"], template.category, template.parameter_format
            )
        template.edits.append(now)
        template.status = "PENDING"
        self._await_review(template)

    def _await_review(self, template: Template) -> None:
        knobs = self._network.knobs
        if knobs.template_review == "manual":
            return
        approve = knobs.template_review == "approve"

        def decide() -> None:
            if template.status == "PENDING" and self._current(template):
                self.set_status(
                    template, "APPROVED" if approve else "REJECTED", "NONE" if approve else "INVALID_FORMAT"
                )

        self._network.world.clock.call_later(knobs.template_review_s, decide)

    def change(self, template: Template, spec: Mapping[str, Any]) -> None:
        """What `POST /sim/whatsapp/templates/{id}` may do: `{status?, reason?, quality?, category?, title?}`."""
        if "status" in spec:
            if spec["status"] not in STATUSES:
                raise ControlError(f"status: one of {', '.join(STATUSES)} expected, got {spec['status']!r}")
            self.set_status(template, spec["status"], str(spec.get("reason", "NONE")), spec.get("title"))
        if "quality" in spec:
            if spec["quality"] not in QUALITIES:
                raise ControlError(
                    f"quality: one of {', '.join(QUALITIES)} expected, got {spec['quality']!r}"
                )
            self.set_quality(template, spec["quality"])
        if "category" in spec:
            self.set_category(template, str(spec["category"]).upper(), notice=bool(spec.get("notice", False)))

    def set_status(
        self, template: Template, event: str, reason: str = "NONE", title: str | None = None
    ) -> None:
        template.status = _BECOMES.get(event, event)
        template.rejected_reason = reason
        value: dict[str, Any] = {
            "event": event,
            **self._named(template),
            "reason": reason,
            "message_template_category": template.category,
        }
        if event == "REJECTED":
            value["rejection_info"] = {
                "reason": "The template does not follow the format rules.",
                "recommendation": "Check the variables and their samples.",
            }
        if event == "DISABLED":
            value["disable_info"] = {"disable_date": self._network.world.clock.now_s()}
        if title is not None:
            value["other_info"] = {"title": title, "description": "Set by the platform."}
        self._network.tell_account(template.account_id, "message_template_status_update", value)
        if event == "DELETED":
            self._network.drop_template(template)

    def set_quality(self, template: Template, quality: str) -> None:
        previous, template.quality = template.quality, quality
        self._network.tell_account(
            template.account_id,
            "message_template_quality_update",
            {"previous_quality_score": previous, "new_quality_score": quality, **self._named(template)},
        )
        if quality == "RED" and template.status == "APPROVED":
            self._pause(template)

    def _pause(self, template: Template) -> None:
        template.pauses += 1
        if template.pauses > len(PAUSE_S):
            self.set_status(template, "DISABLED", title="DISABLE")
            return
        self.set_status(template, "PAUSED", title="FIRST_PAUSE" if template.pauses == 1 else "SECOND_PAUSE")
        pause = template.pauses

        def resume() -> None:
            if template.status == "PAUSED" and template.pauses == pause and self._current(template):
                self.set_status(template, "APPROVED", title="UNPAUSE")

        self._network.world.clock.call_later(PAUSE_S[pause - 1], resume)

    def set_category(self, template: Template, category: str, *, notice: bool = False) -> None:
        """At once, or with 24 hours' notice that names the category to come."""
        check_category(category)
        value: dict[str, Any] = self._named(template)
        if notice:
            at = self._network.world.clock.now() + 24 * 3600
            value |= {
                "new_category": template.category,
                "correct_category": category,
                "category_update_timestamp": int(at),
            }

            def happen() -> None:
                if self._current(template):
                    self.set_category(template, category)

            self._network.world.clock.call_later(24 * 3600, happen)
        else:
            value |= {"previous_category": template.category, "new_category": category}
            template.previous_category, template.category = template.category, category
        self._network.tell_account(template.account_id, "template_category_update", value)

    def _current(self, template: Template) -> bool:
        """Not deleted, and not from before a reset of the world."""
        return self._network.templates.get(template.id) is template

    @staticmethod
    def _named(template: Template) -> dict[str, Any]:
        return {
            "message_template_id": int(template.id),
            "message_template_name": template.name,
            "message_template_language": template.language,
        }
