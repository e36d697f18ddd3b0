"""The batch script of deploy/slurm, with a scheduler of two machines made of two loopback addresses."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.families import marked_family
from tests.node_processes import ROOT, clean_environment
from tests.ports import free_port
from tests.waiting import DEADLINE_S, wait_until
from trionet import NodeAddress, NodeConfig, Remote, TrionetError, open_node

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from tests.launchers.families import Family
    from trionet import Node

SCRIPT = ROOT / "deploy/slurm/trionet.sbatch"
MACHINES = ("127.0.0.1", "127.0.0.2")

SCONTROL = f"""#!/bin/sh
[ "$*" = "show hostnames m[1-2]" ] || exit 9
printf '%s\\n' {" ".join(MACHINES)}
"""

# As srun does: a task for each place of each machine; signals are passed on; the status is the highest of the tasks'.
SRUN = f"""#!/bin/bash
while [[ $1 == --* ]]; do shift; done
pids=()
trap 'kill -TERM "${{pids[@]}}"' TERM
number=0
for machine in {" ".join(MACHINES)}; do
    for place in ${{PLACES:-0 1}}; do
        SLURM_PROCID=$number SLURM_LOCALID=$place SLURMD_NODENAME=$machine TRIONET_IP=$machine "$@" &
        pids+=($!)
        number=$((number + 1))
    done
done
status=0
for pid in "${{pids[@]}}"; do
    last=0
    while wait "$pid" || last=$?; kill -0 "$pid" 2>/dev/null; do last=0; done
    status=$((last > status ? last : status))
done
exit "$status"
"""

TRIONET = f"""#!/bin/sh
if [ "$1 $2" = "keys new" ]; then
    {sys.executable} -m trionet "$@"  # that of another job, which is faster
fi
exec {sys.executable} -m trionet "$@"
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has the whole of 127.0.0.0/8 on loopback"),
]


@pytest.fixture(autouse=True)
def family() -> Generator[Family]:
    with marked_family() as found:
        yield found


@contextmanager
def job(folder: Path, port: int, *program: str) -> Generator[subprocess.Popen[str]]:
    """Run the script as sbatch does: its own copy, with the variables of a job."""
    tools = folder / "bin"
    tools.mkdir()
    commands = {
        "scontrol": SCONTROL,
        "srun": SRUN,
        "trionet": TRIONET,
        "trionet-node": f'#!/bin/sh\nexec {sys.executable} -m trionet.cli.node "$@"\n',
    }
    for name, text in commands.items():
        (tools / name).write_text(text, encoding="utf-8")
        (tools / name).chmod(0o755)
    environment = {name: value for name, value in clean_environment().items() if not name.startswith("SLURM")} | {
        name: os.environ[name] for name in os.environ if name.startswith("TRIONET_TEST")
    }
    environment |= {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "HOME": str(folder),
        "SLURM_JOB_NODELIST": "m[1-2]",
        "TRIONET_FIRST_PORT": str(port),
        "TRIONET_LOG_LEVEL": "warning",
    }
    with subprocess.Popen(
        ["bash", str(SCRIPT), *program],
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def expected(port: int) -> dict[NodeAddress, dict[str, str]]:
    places = [(machine, place) for machine in MACHINES for place in (0, 1)]
    return {
        NodeAddress(machine, port + place): {"host": machine, "task": str(number)}
        for number, (machine, place) in enumerate(places)
    }


async def tags_of_members(node: Node, address: NodeAddress) -> dict[NodeAddress, dict[str, str]]:
    try:
        members = await node.local.comm.send([], Remote(node=address, service="membership", method="members"))
    except TrionetError:
        return {}
    return {member.node: member.tags for member in members if member.status == "alive"}


async def test_the_tasks_become_one_cluster_with_a_key_and_leave_it_before_the_time_limit(
    family: Family, tmp_path: Path
) -> None:
    port = free_port(2)
    key_file = tmp_path / ".trionet/cluster.key"
    with job(tmp_path, port) as script, trio.fail_after(DEADLINE_S):
        await wait_until(key_file.exists)
        assert stat.S_IMODE(key_file.stat().st_mode) == 0o600
        nodes = expected(port)
        async with open_node(NodeConfig(key_file=str(key_file))) as node:
            for address in nodes:
                while await tags_of_members(node, address) != nodes:
                    assert script.poll() is None, script.communicate()
                    await trio.sleep(0.05)
        script.send_signal(signal.SIGTERM)  # --signal=B:TERM@60 sends it to the script alone
        await wait_until(lambda: script.poll() is not None)
        assert script.returncode == 0, script.communicate()
        await wait_until(lambda: not family.pids())


PROGRAM = """
import os, subprocess, sys
members = subprocess.run(["trionet", "members", "--json", "--key-file", os.environ["TRIONET_KEY_FILE"]], check=True)
sys.exit(7)
"""


@pytest.mark.soak
async def test_a_program_ends_the_job_with_its_status(family: Family, tmp_path: Path) -> None:
    with job(tmp_path, free_port(2), sys.executable, "-c", PROGRAM) as script, trio.fail_after(DEADLINE_S):
        output, errors = await trio.to_thread.run_sync(script.communicate)
        assert script.returncode == 7, errors
        assert '"status":"alive"' in output
        await wait_until(lambda: not family.pids())


def test_the_script_asks_for_the_signal_that_it_handles() -> None:
    text = SCRIPT.read_text(encoding="utf-8")
    assert "#SBATCH --signal=B:TERM@60\n" in text
    assert os.access(SCRIPT, os.X_OK)
    subprocess.run(["bash", "-n", SCRIPT], check=True)
