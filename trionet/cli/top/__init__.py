"""The parts of ``trionet top``: from two looks at a cluster to rows, from rows to lines, and a terminal with keys.

All but `terminal` is pure.
"""
