"""The commands: ``trionet-node`` and ``trionet``."""
