"""Ways for calls to travel: each fulfils `base`, and passes one conformance suite."""
