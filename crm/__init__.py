"""Contacts: people, their identities, the consent ledger with `may_send`, segments, import, export and erasure."""
