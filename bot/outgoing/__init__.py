"""The one outgoing client: whatever asks a URL that a flow, a user or a webhook has named goes through here.

`addresses.py` says where a call may go, `client.py` makes it, `limits.py` says how many. Calls to the platforms
themselves, whose addresses the owner has set, go over the channels' own clients. `make check` refuses other clients.
"""

from bot.outgoing.client import Answer, CallFailed, Outgoing, Policy, Request
from bot.outgoing.limits import Limits

__all__ = ["Answer", "CallFailed", "Limits", "Outgoing", "Policy", "Request"]
