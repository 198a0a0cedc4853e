"""The API's page for people, `docs/reference/api.md`: `python -m api.reference` writes it from the routes; a test fails
when it is stale."""

from __future__ import annotations

from pathlib import Path

from api.bodies import MAX_BODY, MAX_DEPTH
from api.limits import KEY_RATE, WORKSPACE_RATE
from api.models import MAX_PAGE, PAGE
from api.once import MAX_KEY
from api.routing import routes
from bot.media import MAX_FILE

PAGE_FILE = Path(__file__).resolve().parents[1] / "docs/reference/api.md"

_HEAD = f"""# The API

<!-- Generated from api/resources/ by `python -m api.reference`. -->

REST under `/api/v1`, JSON in snake_case. The exact shapes are in `/api/v1/openapi.json` (OpenAPI 3.1).

- **Keys.** `passaparola apikey add --name shop --scope contacts:read --scope messages:write` prints a key once; every
  request carries it as `Authorization: Bearer ppk_…`. A key belongs to one workspace and sees nothing else: an id of
  another workspace is 404. `…:write` does not include `…:read`; without `--scope` a key has all scopes.
- **Ids** are text with a prefix (`con_…`, `cam_…`); **times** are milliseconds since 1970 UTC.
- **Pages** are `{{"data": […], "next": …}}`: give `next` as `after`, until it is null. `limit` is {PAGE},
  at most {MAX_PAGE}.
- **Errors** are `application/problem+json` (RFC 9457): `type`, `title`, `status`, `detail`, often `where` and `errors`.
  400 cannot be read, 401 no key, 403 no scope, 404 not here, 409 not as things are, 413 too large, 415 another type,
  422 something does not fit, 429 and 503 come back after `Retry-After` seconds.
- **Once.** A POST with an `Idempotency-Key` (up to {MAX_KEY} characters) happens once: a repetition within a day,
  also at the same moment, gets the same answer with `Idempotent-Replay: true`. The key with another request is 422.
- **Limits.** {KEY_RATE.per_second:.0f} requests a second for each key, {KEY_RATE.burst} at once;
  {WORKSPACE_RATE.per_second:.0f} and {WORKSPACE_RATE.burst} for all keys of a workspace, whichever process they ask
  (with Redis; else in each process). Bodies up to {MAX_BODY // 1_000_000} MB and {MAX_DEPTH} levels deep; files up
  to {MAX_FILE // 1_000_000} MB, as the body of `POST /media`.
- **Bodies are strict.** Unknown members, wrong types, NaN and numbers past 63 bits are refused with their place.

What an agent or a program sends (`POST /messages`) goes the way of every message: it is queued, and whether it may
leave (stopped, blocked, outside the platform's answer window) is decided when it is about to. Ask for its status.

| request | scope | what it does |
|---|---|---|
"""


def page() -> str:
    """The page's text."""
    rows = [f"| `{one.method} {one.path}` | `{one.scope}` | {one.summary} |\n" for one in routes()]
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    PAGE_FILE.write_text(page())
