"""The store: database access, tables, migrations, durable jobs and wake-up signals.

Tables carry no behaviour; each layer above owns the writes to its own tables.
"""
