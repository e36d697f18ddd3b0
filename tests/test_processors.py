"""The quota of a container, from files as the kernel writes them, and from a real group of processes."""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from contextlib import suppress
from pathlib import Path

import pytest

from trionet.processors import quota, usable_processors

CPU = Path("/sys/fs/cgroup/cpu")


def system(root: Path, cgroup: str | None, files: dict[str, str]) -> Path:
    """Make ``/proc/self/cgroup`` and files below ``/sys/fs/cgroup``."""
    if cgroup is not None:
        (root / "proc/self").mkdir(parents=True)
        (root / "proc/self/cgroup").write_text(cgroup, encoding="utf-8")
    for name, content in files.items():
        path = root / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="ascii")
    return root


V1 = "4:cpu,cpuacct:/docker/1f\n3:memory:/docker/1f\n0::/system.slice\n"


@pytest.mark.parametrize(
    ("cgroup", "files", "processors"),
    [
        (None, {}, None),
        ("", {}, None),
        ("0::/\n", {}, None),
        ("0::/\n", {"cpu.max": "max 100000\n"}, None),
        ("0::/\n", {"cpu.max": "150000 100000\n"}, 1.5),
        ("0::/kubepods/pod1/c1\n", {"cpu.max": "50000 100000\n"}, 0.5),  # mounted without the path of the host
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000\n", "a/cpu.max": "200000 100000\n"}, 2.0),  # a limit above
        ("0::/a/b\n", {"a/b/cpu.max": "300000 100000\n", "a/cpu.max": "400000 100000\n"}, 3.0),
        ("0::/../../escaped\n", {"escaped/cpu.max": "100000 100000\n"}, 1.0),
        ("0::/\n", {"cpu.max": "nonsense\n"}, None),
        ("0::/\n", {"cpu.max": "100000 0\n"}, None),
        ("0::/\n", {"cpu.max": "0 100000\n"}, None),
        ("0::/\n", {"cpu.max": ""}, None),
        ("0::/\n", {"cpu.max": f"{'9' * 4000} 1\n"}, None),
        (V1, {"cpu/docker/1f/cpu.cfs_quota_us": "-1\n", "cpu/docker/1f/cpu.cfs_period_us": "100000\n"}, None),
        (V1, {"cpu/docker/1f/cpu.cfs_quota_us": "250000\n", "cpu/docker/1f/cpu.cfs_period_us": "100000\n"}, 2.5),
        (V1, {"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "50000\n"}, 0.5),
        (V1, {"cpu/cpu.cfs_quota_us": "25000\n"}, None),
        ("4:cpuset:/\n", {"cpu/cpu.cfs_quota_us": "25000\n", "cpu/cpu.cfs_period_us": "50000\n"}, None),
    ],
)
def test_the_quota_is_the_least_of_the_group_and_those_above_it(
    tmp_path: Path, cgroup: str | None, files: dict[str, str], processors: float | None
) -> None:
    assert quota(system(tmp_path, cgroup, files)) == processors


ASKS = """
import trio
from trionet.transports.link.polling import BusyPoll
from trionet.processors import usable_processors

async def main():
    print(usable_processors(), BusyPoll(usable_processors())._is_possible)

trio.run(main)
"""


@pytest.mark.parametrize(("quota_us", "processors"), [(50_000, 1), (150_000, 1), (-1, None)])
def test_a_process_with_less_than_two_processors_does_not_spin(quota_us: int, processors: int | None) -> None:
    group = CPU / f"trionet-test-{uuid.uuid4().hex}"
    try:
        group.mkdir()
        (group / "cpu.cfs_quota_us").write_text(str(quota_us), encoding="ascii")
    except OSError as exc:
        with suppress(OSError):
            group.rmdir()
        pytest.skip(f"no group with a quota can be made here: {exc}")
    enter = ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs")]
    try:
        done = subprocess.run([*enter, sys.executable, "-c", ASKS], capture_output=True, text=True, check=True)
    finally:
        group.rmdir()
    expected = len(os.sched_getaffinity(0)) if processors is None else processors
    assert done.stdout.split() == [str(expected), str(expected > 1)]
    assert usable_processors() == len(os.sched_getaffinity(0)), "that of this process is another"
