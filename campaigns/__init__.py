"""Broadcasts: campaigns to consented contacts, one row per person and run; posts on outlets.

The way of a campaign: `drafts` (what is said to whom) → `runs.start` → `audiences.materialise` (one recipient row per
person) → `recipients.feed` (outbox rows, at most 500 ahead per channel) → the sender → `recipients.hear` (what became
of each) → `totals.fold` → `reports`. `previews` says beforehand what would happen, `brakes` stops a run that goes
wrong, `scheduler` lists what has to be called how often.
"""
