"""Measurements, one file per question; `python -m benchmarks` prints numbers with units and the budgets beside them."""
