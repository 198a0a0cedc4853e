"""Composition root: settings, the wiring of all rooms into one application, logs and the `passaparola` command.

The only room that knows every other one; nothing imports it.
"""
