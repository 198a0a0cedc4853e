"""Conversation runtime: channels, intake, the worker that walks people through flows, outbox and sender.

One way in (intake) and one way out (outbox): agents, campaigns and the API take the same roads.
"""
