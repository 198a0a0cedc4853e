"""Alembic's migrations: `env.py` runs them on a connection that is handed in, `versions/` holds them, one step each.

Run through `storage.schema`; made by `make migration`. A version that was released is never edited.
"""
