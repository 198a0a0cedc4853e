"""The store: database, tables, migrations, leases, jobs, sealing, signals. Its functions are synchronous."""
