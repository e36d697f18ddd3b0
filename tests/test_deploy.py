"""The files of deploy/: containers and Kubernetes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import uuid
import zipfile
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest
import trio

from tests.node_processes import ROOT, clean_environment
from tests.waiting import DEADLINE_S, is_running, wait_until
from trionet import NodeAddress, Remote, open_node

if TYPE_CHECKING:
    from collections.abc import Generator

DEPLOY = ROOT / "deploy"
CONTAINERFILE = (DEPLOY / "Containerfile").read_text(encoding="utf-8")
MANIFESTS = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
CGROUPS = Path("/sys/fs/cgroup")
MEMORY_BYTES = 256 * 2**20
"""As in the manifest."""

# What an engine does to the file system of a container whose root is read-only.
READ_ONLY = """
set -e
mount --make-rprivate /
mount -o remount,bind,ro /
mount -t tmpfs tmpfs "$TMPDIR"
if touch /trionet-test 2>/dev/null; then echo "the root is writable" >&2; exit 9; fi
cd "$TMPDIR"
exec "$@"
"""


# ---------------------------------------------------------------------------------------------------------- containers


@contextmanager
def memory_limit() -> Generator[Path | None]:
    """Make a group of processes with the limit, where that is permitted."""
    is_v2 = (CGROUPS / "cgroup.controllers").exists()
    group = (CGROUPS if is_v2 else CGROUPS / "memory") / f"trionet-test-{uuid.uuid4().hex}"
    limit = group / ("memory.max" if is_v2 else "memory.limit_in_bytes")
    try:
        group.mkdir()
        limit.write_text(str(MEMORY_BYTES), encoding="ascii")
    except OSError:
        with suppress(OSError):
            group.rmdir()
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


def can_contain() -> bool:
    command = ["unshare", "--pid", "--fork", "--mount", "mount", "-o", "remount,bind,ro", "/"]
    return bool(shutil.which("unshare")) and not subprocess.run(command, capture_output=True, check=False).returncode


def entry_point(*arguments: str) -> list[str]:
    """Return the Containerfile's entry point, in this environment."""
    (program,) = msgspec.json.decode(_instruction("ENTRYPOINT"))
    return [sys.executable, "-m", {"trionet-node": "trionet.cli.node"}[program], *arguments]


def _instruction(name: str) -> str:
    found: list[str] = re.findall(rf"^{name} (.*)$", CONTAINERFILE, re.MULTILINE)
    return found[-1]


@pytest.mark.skipif(not can_contain(), reason="no namespaces for processes and mounts can be made here")
async def test_the_entry_point_runs_as_process_1_with_a_read_only_root_and_little_memory(tmp_path: Path) -> None:
    contained = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child", "sh", "-c", READ_ONLY, "sh"]
    command = [*contained, *entry_point("--port", "0", "--json")]
    environment = clean_environment() | {"PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)}
    with memory_limit() as group, ExitStack() as stack:
        process = stack.enter_context(_started(command if group is None else [*inside(group), *command], environment))
        stack.callback(process.kill)
        assert process.stdout is not None
        ready: dict[str, Any] = msgspec.json.decode(await trio.to_thread.run_sync(process.stdout.readline))
        assert ready["pid"] < 10, "it is in a namespace of its own"
        node = NodeAddress(ready["ip"], ready["port"])
        async with open_node() as caller:
            spawn = Remote(node=node, service="status", method="spawn")
            child = NodeAddress.of(await caller.local.comm.send([{"port": 0}], spawn))
            assert (
                await caller.local.comm.send(["sid"], Remote(node=child, service="status", method="get")) == child.sid
            )
        first = _children(process.pid)[0]
        os.kill(first, signal.SIGTERM)  # as an engine does
        with trio.fail_after(DEADLINE_S):
            assert await trio.to_thread.run_sync(process.wait) == 0
        await wait_until(lambda: not is_running(first))


def test_an_image_is_built_from_all_that_the_wheel_needs_and_from_little_else(tmp_path: Path) -> None:
    lines = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    kept = [line[1:] for line in lines if line.startswith("!")]
    assert "*" in lines, "what is not named is left out"
    for name in kept:
        source, target = ROOT / name, tmp_path / "src" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(source, target)
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path)]
    subprocess.run(build, cwd=tmp_path / "src", check=True, capture_output=True, timeout=DEADLINE_S)
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    moved = {"examples/gossip_glomers/": "trionet/maelstrom/gossip_glomers/"}
    wanted = {"pytest_trionet.py"}
    for folder in ("trionet/", *moved):
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                wanted.add(moved.get(folder, folder) + path.relative_to(ROOT / folder).as_posix())
    assert packed == wanted


def inside(group: Path) -> list[str]:
    """Return the beginning of a command that runs in a group."""
    return ["sh", "-c", 'echo $$ >"$0"; exec "$@"', str(group / "cgroup.procs")]


def _started(command: list[str], environment: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE)


def _children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()]


def test_the_image_runs_as_a_numbered_user_in_exec_form() -> None:
    user = _instruction("USER")
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user), "Kubernetes can't check a name for runAsNonRoot"
    for name in ("ENTRYPOINT", "CMD"):
        assert msgspec.json.decode(_instruction(name), type=list[str]), "a shell would not pass signals on"


# ---------------------------------------------------------------------------------------------------------- Kubernetes


def test_the_manifests_are_valid() -> None:
    validate = pytest.importorskip("kubernetes_validate")
    yaml = pytest.importorskip("yaml")
    assert len(MANIFESTS) == 3
    for path in MANIFESTS:
        for resource in yaml.safe_load_all(path.read_text(encoding="utf-8")):
            validate.validate(resource, validate.latest_version(), strict=True)


def test_the_pods_have_the_settings_of_nodes_and_the_user_of_the_image() -> None:
    yaml = pytest.importorskip("yaml")
    pod = yaml.safe_load((DEPLOY / "kubernetes/statefulset.yaml").read_text(encoding="utf-8"))["spec"]["template"][
        "spec"
    ]
    (node,) = pod["containers"]
    settings = [variable["name"].removeprefix("TRIONET_").lower() for variable in node["env"]]
    from trionet import NodeConfig

    assert set(settings) <= set(NodeConfig.__struct_fields__)
    user, group = map(int, _instruction("USER").split(":"))
    context = pod["securityContext"]
    assert (context["runAsUser"], context["runAsGroup"], context["runAsNonRoot"]) == (user, group, True)
    assert node["securityContext"]["readOnlyRootFilesystem"]
    assert pod["terminationGracePeriodSeconds"] > 2 * NodeConfig().stop_grace_s
    probes = {name: node[f"{name}Probe"]["httpGet"]["path"] for name in ("startup", "liveness", "readiness")}
    assert probes == {"startup": "/live", "liveness": "/live", "readiness": "/ready"}
