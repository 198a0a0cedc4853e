"""The automatic brake: what pauses a run without a person. Pure; `runs.brake` acts on it once a second.

Judged on what happened since the run was last started or resumed, so that a person who resumes it is believed. The
first people of a run are its canaries (`CANARIES`): only so many are queued until their outcomes are known, so a
message that nobody can receive costs that many attempts and not the whole audience. Limits with their reasons:

* our account or token is refused, our number's limit is used up, the template is not (any more) accepted: one is
  enough, every further attempt would fail in the same way and count against us;
* the content is refused: 3 while nobody got it, else 20 and 5 % of the attempts (a few odd values in a template's
  fields are no reason to stop);
* people cannot be reached, have blocked us or do not want marketing: 50 and 20 %; platforms lower the quality of
  senders whom many people block;
* outcomes are unknown: 20 and 5 %; every one of them is a person who may or may not have got it.
"""

from __future__ import annotations

from collections.abc import Mapping

from domain.errors import SendFailure as F

CANARIES = 20  # whatsapp.md 2.9 and telegram.md 6 both look at the first 20
WAIT_LIMIT_MS = 60_000  # a platform that makes us wait longer than this wants us to stop

AT_ONCE = (F.auth, F.sender_limit, F.template_invalid, F.rights)
_CONTENT = (F.rejected, F.media_invalid)
_PEOPLE = (F.unreachable, F.blocked_by_contact, F.opted_out)


def verdict(totals: Mapping[str, int], baseline: Mapping[str, int]) -> str:
    """Why the run has to pause, as a reason of ours; "" when it may go on."""

    def since(*names: str) -> int:
        return sum(totals.get(name, 0) - baseline.get(name, 0) for name in names)

    for reason in AT_ONCE:
        if since(f"failed:{reason}") > 0:
            return reason.value
    sent = since("sent")
    attempts = sent + since("failed", "unknown")
    content = since(*(f"failed:{reason}" for reason in _CONTENT))
    if content >= 3 and sent <= 0:
        return "content_refused"
    if _share(content, attempts, least=20, percent=5):
        return "content_refused"
    if _share(since(*(f"failed:{reason}" for reason in _PEOPLE)), attempts, least=50, percent=20):
        return "too_many_unreachable"
    if _share(since("unknown"), attempts, least=20, percent=5):
        return "too_many_unknown"
    return ""


def _share(count: int, of: int, *, least: int, percent: int) -> bool:
    return count >= least and count * 100 >= of * percent


def ahead(totals: Mapping[str, int], baseline: Mapping[str, int], limit: int) -> int:
    """How many recipients of a run may be queued at a time: few until its canaries' outcomes are known."""
    known = sum(
        totals.get(name, 0) - baseline.get(name, 0) for name in ("sent", "failed", "skipped", "unknown")
    )
    return limit if known >= CANARIES else min(limit, CANARIES)
