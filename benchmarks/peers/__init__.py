"""The servers and clients that are compared, one file each: ``python -m benchmarks.peers.NAME serve|call OPTIONS``."""
