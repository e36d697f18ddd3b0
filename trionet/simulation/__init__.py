"""Virtual networks: whole clusters in one process, with faults, replayable from a seed."""
