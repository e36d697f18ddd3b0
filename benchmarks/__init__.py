"""Benchmarks: ``python -m benchmarks calls|fanout|links|bulk|all``; see `__main__`."""
