"""The switches of the simulated WhatsApp that a test or the demo turns through `POST /sim/whatsapp/knobs`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_CHOICES = {
    "bsuid_mode": ("phone", "both", "bsuid"),
    "window_check": ("sync", "async", "off"),
    "unknown_people": ("exist", "absent"),
    "template_review": ("approve", "reject", "manual"),
    "pacing": ("off", "release", "drop"),
}


@dataclass(slots=True)
class Knobs:
    """Probabilities are 0…1, times what their name says.

    status_delay_ms       None: like life (sent 10-200 ms, delivered and read around 2 s and 6 s later); a number: each
                          next status that long after the one before
    duplicate_p           a webhook item is sent twice · reorder_p: after the one that follows it
    skip_delivered_p      no `delivered` before `read`
    status_before_response_p  the `sent` status is delivered before the send is answered
    batch_window_ms       0: one item per POST; above: what comes within it goes together, at most 1,000 items
    bsuid_mode            phone: no business-scoped ids · both · bsuid: no phone numbers at all
    window_check          free-form message outside 24 hours: refused at once, failed later, or allowed
    unknown_people        a number nobody made: belongs to somebody, or to nobody on WhatsApp
    portfolio_code        the failure when the portfolio's daily limit is used up
    service_allowance     free service messages per number and month since October 2026
    template_review       what becomes of a new template after template_review_s
    pacing                marketing templates: off, or held for pacing_s and then released or dropped (132015)
    """

    status_delay_ms: float | None = None
    duplicate_p: float = 0.0
    reorder_p: float = 0.0
    skip_delivered_p: float = 0.0
    status_before_response_p: float = 0.0
    bad_signature_p: float = 0.0
    batch_window_ms: float = 0.0
    webhook_timeout_s: float = 10.0
    retry_span_s: float = 7 * 24 * 3600.0
    bsuid_mode: str = "both"
    window_check: str = "async"
    unknown_people: str = "exist"
    read_p: float = 1.0
    us_marketing_block: bool = True
    portfolio_code: int = 131048
    service_allowance: int = 1000
    fetch_links: bool = True
    template_review: str = "approve"
    template_review_s: float = 3.0
    pacing: str = "off"
    pacing_s: float = 3600.0

    def change(self, spec: Mapping[str, Any]) -> dict[str, Any]:
        """Take over the fields given and return all; ValueError names the field that is wrong."""
        checked = {key: self._checked(key, value) for key, value in spec.items()}
        for key, value in checked.items():
            setattr(self, key, value)
        return asdict(self)

    def _checked(self, key: str, value: object) -> object:
        if key not in self.__dataclass_fields__:
            raise ValueError(f"unknown knob: {key}")
        if key in _CHOICES:
            if value not in _CHOICES[key]:
                raise ValueError(f"{key}: one of {', '.join(_CHOICES[key])} expected, got {value!r}")
            return value
        current = getattr(self, key)
        if isinstance(current, bool):
            if not isinstance(value, bool):
                raise ValueError(f"{key}: true or false expected, got {value!r}")
            return value
        if value is None and key == "status_delay_ms":
            return None
        if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
            raise ValueError(f"{key}: a number of 0 or more expected, got {value!r}")
        if key.endswith("_p") and value > 1:
            raise ValueError(f"{key}: a probability between 0 and 1 expected, got {value!r}")
        return int(value) if isinstance(current, int) else float(value)
