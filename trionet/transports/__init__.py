"""Transports of calls: each fulfils `base`, and passes one conformance suite."""
