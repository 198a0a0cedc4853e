"""Contacts and what they agreed to: identities, contacts, the consent ledger, the send gate, segments, privacy.

Owns the writes to contacts, identities, consents, suppression, timeline and segments; `gate.may_send` is the only
way to decide whether a message may leave.
"""
