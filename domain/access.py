"""Who may call an HTTP route: a policy that every handler states, because a route without one must not exist.

    @access("public")            anyone: health, tracked links, sign-in
    @access("webhook")           a platform, proven by its signature or secret
    @access("loopback")          this machine only
    @access("api:contacts.read") an API key with that scope
    @access("console")           a signed-in person of the workspace

The decorator only notes the policy on the handler; the application reads it with `policy_of` and enforces it,
and `make check` refuses a handler that states none (`checks/routes.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, TypeVar

Handler = TypeVar("Handler", bound=Callable[..., Any])

_POLICY = re.compile(r"public|webhook|loopback|console|api:[a-z_]+([.:][a-z_]+)*")


def access(policy: str) -> Callable[[Handler], Handler]:
    """State who may call a handler: `public`, `webhook`, `loopback`, `console` or `api:<scope>`.

    Raises ValueError for any other policy, at import: a mistyped policy never becomes a route.
    """
    if not _POLICY.fullmatch(policy):
        raise ValueError(f"no such access policy: {policy!r}")

    def state(handler: Handler) -> Handler:
        handler.access_policy = policy  # type: ignore[attr-defined]
        return handler

    return state


def policy_of(handler: Callable[..., Any]) -> str | None:
    """The policy a handler states (also through a bound method), or None: such a route is to be refused."""
    policy: str | None = getattr(handler, "access_policy", None)
    return policy
