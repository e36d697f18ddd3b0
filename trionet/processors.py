"""The processors that this process may use.

A container has a quota: so much processor time in each period, on any number of processors. A process that has used it
up is stopped until the next period.

Source: sched_getaffinity(2); "Control Group v2", cpu.max, and "CFS Bandwidth Control", cpu.cfs_quota_us, in the
documentation of the Linux kernel.
"""

from __future__ import annotations

import functools
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["quota", "usable_processors"]

_ROOT: Final = Path("/")
_GROUPS: Final = "sys/fs/cgroup"


def usable_processors() -> int:
    """Return the number of processors for this process, as its affinity and its quota permit; at least 1."""
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    limit = _quota_at_start()
    return count if limit is None else max(1, min(count, int(limit)))


def quota(root: Path = _ROOT) -> float | None:
    """Return the processors that the control groups of this process grant it; None without a limit.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    return min(_quotas(root), default=None)


@functools.cache
def _quota_at_start() -> float | None:
    return quota()


def _quotas(root: Path) -> Iterator[float]:
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # not Linux
        return
    for line in lines:
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            for group in _with_parents(root / _GROUPS, path):
                with suppress(OSError, ValueError, OverflowError):
                    quota_us, period_us = (group / "cpu.max").read_text(encoding="ascii").split()
                    yield from _ratio(quota_us, period_us)
        elif "cpu" in controllers.split(","):
            for group in _with_parents(root / _GROUPS / "cpu", path):
                with suppress(OSError, ValueError, OverflowError):
                    quota_us = (group / "cpu.cfs_quota_us").read_text(encoding="ascii")
                    yield from _ratio(quota_us, (group / "cpu.cfs_period_us").read_text(encoding="ascii"))


def _with_parents(mount: Path, path: str) -> Iterator[Path]:
    """Yield the folders of a group and of those above it.

    In a container without a namespace for control groups `path` is that of the host, and only the mount itself exists.
    """
    group = mount.joinpath(*(part for part in path.split("/") if part not in ("", "..")))
    yield group
    yield from (parent for parent in group.parents if parent.is_relative_to(mount))


def _ratio(quota_us: str, period_us: str) -> Iterator[float]:
    if quota_us.strip() not in ("max", "-1"):
        ratio = int(quota_us) / int(period_us) if int(period_us) > 0 else 0
        if ratio > 0:
            yield ratio
