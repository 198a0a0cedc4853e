"""One file per question that is measured; `python -m benchmarks` prints numbers with units and the budgets beside them."""
