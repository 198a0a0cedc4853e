"""The vocabulary that all rooms share: ids, messages, events, effects, errors, predicates.

Pure: no I/O, no clock, no randomness, no third-party runtime but msgspec (frozen structs with one JSON form).
"""
