"""The memory of a process, on Linux."""

from __future__ import annotations

import gc
from pathlib import Path

__all__ = ["memory", "open_sockets"]


def memory() -> dict[str, int]:
    """Collect garbage; return this process's resident and proportional memory in bytes."""
    gc.collect()
    fields = {}
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines():
        name, _, value = line.partition(":")
        if value.endswith("kB"):
            fields[name] = int(value.split()[0]) * 1024
    return {"rss": fields["Rss"], "pss": fields["Pss"]}


def open_sockets() -> int:
    """Return the number of open sockets of this process."""
    count = 0
    for file in Path("/proc/self/fd").iterdir():
        try:
            count += str(file.readlink()).startswith("socket:")
        except FileNotFoundError:  # the one that the folder itself was read by
            continue
    return count
