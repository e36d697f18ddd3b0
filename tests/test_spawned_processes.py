"""What holds for a node in a process of its own, whichever launcher has started it."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.families import Family, marked_family
from tests.launchers.misfit import (
    SERVICES,
    ask,
    ask_in_vain,
    block_at_start,
    fail_to_start,
    give_up,
    leave,
    note,
    say_and_exit,
    sleep_at_start,
    spin_file,
    stop_soon,
)
from tests.launchers.spawner import Wishes, open_spawner, open_spawner_early
from tests.waiting import DEADLINE_S, is_running, wait_until
from trionet import (
    ChildEnded,
    ChildRestarted,
    Node,
    NodeAddress,
    NodeConfig,
    NodeUnreachable,
    Remote,
    SpawnError,
    open_node,
)

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
    from pathlib import Path

pytestmark = [pytest.mark.slow]

LAUNCHERS = ["forkserver", "subprocess"]
GONE_S = 5.0
"""No node runs longer than that after its parent was killed."""

each_launcher = pytest.mark.parametrize("launcher", LAUNCHERS)


@pytest.fixture(autouse=True)
def family() -> Generator[Family]:
    """The processes that the test has started; the test fails when one of them is left."""
    with marked_family() as found:
        yield found


@pytest.fixture
async def parent(start_node: Callable[..., Awaitable[Node]]) -> AsyncGenerator[Node]:
    """A node in this process, for as long as the test lasts."""
    with trio.fail_after(2 * DEADLINE_S):
        yield await start_node()


def misfit(launcher: str | None = None, **settings: object) -> NodeConfig:
    return NodeConfig.from_mapping({"services": SERVICES, "launcher": launcher} | settings)


async def spawn_many(node: Node, config: NodeConfig, count: int) -> list[NodeAddress]:
    addresses = []

    async def spawn_one() -> None:
        addresses.append(await node.local.status.spawn(config))

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(spawn_one)
    return addresses


# ------------------------------------------------------------------------------------------------------------- booting


@pytest.mark.parametrize(("launcher", "count"), [("forkserver", 30), ("subprocess", 4)])
async def test_nodes_that_are_spawned_at_once_all_answer_a_call(
    parent: Node, family: Family, launcher: str, count: int
) -> None:
    addresses = await spawn_many(parent, misfit(launcher), count)
    await parent.local.groups.put("children", addresses)
    pids = await parent.group("children").comm.send([], Remote(service="misfit", method="pid"))
    assert not pids.errors
    assert len(set(pids.values.values())) == count
    assert set(pids.values.values()) <= family.pids()


@each_launcher
async def test_why_a_node_did_not_boot_is_the_reason_and_it_leaves_no_process(
    parent: Node, family: Family, capfd: pytest.CaptureFixture[str], launcher: str
) -> None:
    nowhere = NodeConfig(launcher=launcher, services={"some": "nowhere:Thing"})
    for config, reason in (
        (misfit(launcher, port=parent.address.port), rf"did not boot: {parent.address} is already in use$"),
        (misfit(launcher, on_start=fail_to_start), r"did not boot: LookupError: no plan for 127\.0\.0\.1$"),
        (misfit(launcher, on_start=leave), r"the node did not boot: SystemExit: 5$"),
        (misfit(launcher, on_start=give_up), r"the node did not boot: GeneratorExit$"),
        (misfit(launcher, on_start=say_and_exit), r"ended before it had booted: exit status 7$"),
        (nowhere, r"can't import 'nowhere': ModuleNotFoundError"),
    ):
        with pytest.raises(SpawnError, match=reason):
            await parent.local.status.spawn(config)
        await family.wait_for(1 if launcher == "forkserver" else 0)
    assert "it ends here" in capfd.readouterr().err


@each_launcher
async def test_a_node_that_stops_itself_in_on_start_has_booted_and_ended(parent: Node, launcher: str) -> None:
    events = parent.events()
    address = await parent.local.status.spawn(misfit(launcher, on_start=stop_soon))
    assert await anext(events) == ChildEnded(node=address, status=0)


@each_launcher
@pytest.mark.parametrize("on_start", [sleep_at_start, block_at_start])
async def test_a_cancelled_spawn_stops_the_node_that_is_booting(
    parent: Node,
    family: Family,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    on_start: Callable[[Node], None],
) -> None:
    for name, value in spin_file(tmp_path / "pid").items():
        monkeypatch.setenv(name, value)
    if launcher == "forkserver":
        await parent.prewarm()  # while it imports, the fork server has children of its own: see `Family.pids`
    before = family.pids()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parent.local.status.spawn, misfit(launcher, on_start=on_start, stop_grace_s=0))
        if on_start is block_at_start:
            await wait_until((tmp_path / "pid").exists)
        else:
            await wait_until(lambda: family.pids() > before)
        nursery.cancel_scope.cancel()
    assert family.pids() == before
    await parent.prewarm()  # the spawner goes on


# ------------------------------------------------------------------------------------------------------------- leaving


@each_launcher
async def test_leaving_the_block_stops_all_nodes_and_waits_for_them(family: Family, launcher: str) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            first, *_ = await spawn_many(node, misfit(launcher), 3)
            remote = Remote(node=first, service="status", method="spawn")
            await node.local.comm.send([misfit(launcher)], remote)
            assert len(family.pids()) == 4 + (2 if launcher == "forkserver" else 0)
        assert not family.pids()


@each_launcher
async def test_an_exception_in_the_block_stops_them_and_is_the_callers(family: Family, launcher: str) -> None:
    async def fail() -> None:
        async with open_node() as node:
            await spawn_many(node, misfit(launcher), 2)
            raise LookupError("no plan")

    with trio.fail_after(DEADLINE_S), pytest.raises(LookupError, match="no plan"):
        await fail()
    assert not family.pids()


async def test_stopping_the_spawner_by_a_call_stops_them(family: Family) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            await spawn_many(node, misfit(), 2)
            await node.local.status.stop()
            await trio.sleep_forever()
        assert not family.pids()


async def test_a_node_whose_event_loop_is_blocked_is_killed_when_the_block_is_left(
    family: Family, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with trio.fail_after(DEADLINE_S):
        async with open_node(NodeConfig(stop_grace_s=0)) as node, trio.open_nursery() as nursery:
            for launcher in LAUNCHERS:
                address = await node.local.status.spawn(misfit(launcher, stop_grace_s=0))
                nursery.start_soon(ask, node, address, "block", str(tmp_path / launcher))
            await wait_until(lambda: len(list(tmp_path.iterdir())) == len(LAUNCHERS))
            nursery.cancel_scope.cancel()
        assert not family.pids()
    assert len([line for line in caplog.messages if line.endswith("did not stop and is killed")]) == len(LAUNCHERS)


@each_launcher
async def test_ctrl_c_reaches_the_spawner_alone_which_stops_its_nodes(family: Family, launcher: str) -> None:
    async with open_spawner(Wishes(launcher=launcher)) as (spawner, born):
        assert len({os.getpgid(pid) for pid in (spawner.pid, *born.pids)}) == 3
        os.killpg(spawner.pid, signal.SIGINT)
        await spawner.wait()
        assert not family.pids()


# ------------------------------------------------------------------------------------------------------ sudden deaths


@each_launcher
@pytest.mark.parametrize("depth", [1, 2])
async def test_no_node_is_left_when_its_parent_is_killed(family: Family, launcher: str, depth: int) -> None:
    async with open_spawner(Wishes(launcher=launcher, depth=depth)) as (spawner, born):
        assert len(born.pids) == 2 * depth
        spawner.kill()
        assert await family.wait_gone() < GONE_S


@each_launcher
@pytest.mark.parametrize("processes", [1, 2, 3])
async def test_nor_when_the_parent_is_killed_while_they_are_being_started(
    family: Family, launcher: str, processes: int
) -> None:
    async with open_spawner_early(Wishes(launcher=launcher, count=3)) as spawner:
        await wait_until(lambda: len(family.pids()) >= processes)
        spawner.kill()
        assert await family.wait_gone() < GONE_S


@each_launcher
async def test_nor_when_event_loops_are_blocked_for_ever_in_handlers_and_on_start_in_every_generation(
    family: Family, tmp_path: Path, launcher: str
) -> None:
    (tmp_path / "handlers").mkdir()
    at_start = tmp_path / "at start"
    wishes = Wishes(launcher=launcher, count=1, depth=3, block=str(tmp_path / "handlers"), block_at_start=str(at_start))
    async with open_spawner(wishes) as (spawner, _):
        assert len(list((tmp_path / "handlers").iterdir())) == 3
        spawner.kill()
        assert is_running(int(at_start.read_text(encoding="ascii")))
        assert await family.wait_gone() < GONE_S


@each_launcher
async def test_nor_when_the_parents_process_group_or_its_whole_session_is_killed(family: Family, launcher: str) -> None:
    async with open_spawner(Wishes(launcher=launcher)) as (spawner, _):
        os.killpg(spawner.pid, signal.SIGKILL)
        assert await family.wait_gone() < GONE_S
    async with open_spawner(Wishes(launcher=launcher)) as (spawner, born):
        assert {os.getsid(pid) for pid in born.pids} == {spawner.pid}
        for pid in family.pids():
            with suppress(ProcessLookupError):
                if os.getsid(pid) == spawner.pid:
                    os.kill(pid, signal.SIGKILL)
        assert await family.wait_gone() < GONE_S


@each_launcher
async def test_nor_when_a_spawned_node_that_has_spawned_is_killed(family: Family, launcher: str) -> None:
    async with open_spawner(Wishes(launcher=launcher, count=1, depth=2)) as (spawner, born):
        os.kill(born.pids[0], signal.SIGKILL)
        await wait_until(lambda: not is_running(born.pids[1]))
        await wait_until(lambda: len(family.pids()) == (2 if launcher == "forkserver" else 1))
        assert is_running(spawner.pid)
        spawner.kill()
        await family.wait_gone()


@each_launcher
async def test_a_detached_node_outlives_its_spawner_and_is_stopped_by_a_call(
    parent: Node, family: Family, launcher: str
) -> None:
    async with open_spawner(Wishes(launcher=launcher, count=1, detach=True)) as (spawner, born):
        spawner.kill()
        await spawner.wait()
        await wait_until(lambda: family.pids() == set(born.pids))
        address = NodeAddress.of(born.addresses[0])
        assert await ask(parent, address, "pid") == born.pids[0]
        await parent.local.comm.send([], Remote(node=address, service="status", method="stop"))
        await family.wait_gone()


async def test_a_detached_node_outlives_the_block_too_and_its_end_before_that_is_reported(
    parent: Node, family: Family
) -> None:
    async with open_node() as node:
        events = node.events()
        lost = await node.local.status.spawn(misfit(), detach=True)
        kept = await node.local.status.spawn(misfit(), detach=True)
        os.kill(await ask(node, lost, "pid"), signal.SIGKILL)
        assert await anext(events) == ChildEnded(node=lost, status=-signal.SIGKILL)
        assert len(await family.wait_for(1)) == 1
    assert await ask(parent, kept, "pid") in family.pids()
    await parent.local.comm.send([], Remote(node=kept, service="status", method="stop"))
    await family.wait_gone()


# ----------------------------------------------------------------------------------------------- crashes and restarts


@each_launcher
async def test_a_crash_is_seen_by_the_parent_at_once_with_its_status(parent: Node, launcher: str) -> None:
    killed, quitting, stopped = await spawn_many(parent, misfit(launcher), 3)
    events = parent.events()

    os.kill(await ask(parent, killed, "pid"), signal.SIGKILL)
    assert await anext(events) == ChildEnded(node=killed, status=-signal.SIGKILL)

    await ask_in_vain(parent, quitting, "exit", 3)
    assert await anext(events) == ChildEnded(node=quitting, status=3)

    await parent.local.comm.send([], Remote(node=stopped, service="status", method="stop"))
    assert await anext(events) == ChildEnded(node=stopped, status=0)


@each_launcher
async def test_a_node_that_crashes_is_started_again_on_its_address(parent: Node, launcher: str) -> None:
    address = await parent.local.status.spawn(misfit(launcher), restart="on_failure")
    events = parent.events()
    first = await ask(parent, address, "pid")
    os.kill(first, signal.SIGKILL)
    assert await anext(events) == ChildEnded(node=address, status=-signal.SIGKILL)
    assert await anext(events) == ChildRestarted(node=address, restarts=1)
    assert await ask(parent, address, "pid") != first


@pytest.mark.parametrize(("restart", "after_crash", "after_stop"), [
    ("never", False, False), ("on_failure", True, False), ("always", True, True),
])  # fmt: skip
async def test_a_restart_policy_says_after_which_ends_a_node_is_started_again(
    parent: Node, restart: str, after_crash: bool, after_stop: bool
) -> None:
    crashing, stopping = await spawn_many(parent, misfit(restart=restart), 2)
    events = parent.events()
    await parent.local.comm.send([], Remote(node=stopping, service="status", method="stop"))
    assert await anext(events) == ChildEnded(node=stopping, status=0)
    if after_stop:
        assert await anext(events) == ChildRestarted(node=stopping, restarts=1)
        assert await ask(parent, stopping, "pid") > 0
    os.kill(await ask(parent, crashing, "pid"), signal.SIGKILL)
    assert await anext(events) == ChildEnded(node=crashing, status=-signal.SIGKILL)
    if after_crash:
        assert await anext(events) == ChildRestarted(node=crashing, restarts=1)
        assert await ask(parent, crashing, "pid") > 0
    if not after_stop:
        assert not await is_there(parent, stopping)
    if not after_crash:
        assert not await is_there(parent, crashing)


async def is_there(node: Node, address: NodeAddress) -> bool:
    try:
        return bool(await ask(node, address, "pid"))
    except NodeUnreachable:
        return False


# ----------------------------------------------------------------------------------------- what belongs to a process


@each_launcher
async def test_a_child_has_no_descriptors_but_its_own(parent: Node, family: Family, launcher: str) -> None:
    addresses = await spawn_many(parent, misfit(launcher), 3)
    children = [await ask(parent, each, "pid") for each in addresses]
    others = [os.getpid(), *(family.pids() - set(children))]
    assert len(others) == (2 if launcher == "forkserver" else 1)
    held = {pid: channels_of(pid) for pid in [*children, *others]}
    for child in children:
        shared = [held[child] & held[other] for other in held if other != child]
        # A pipe shows the same name at both ends: through it a child of its own is told to stop.
        assert sum(map(len, shared)) == (0 if launcher == "forkserver" else 1), shared
    for child, address in zip(children, addresses, strict=True):
        # Its port, for connections and for datagrams; the link with its parent; what it is told by; two pairs with
        # which Trio wakes itself.
        assert len(held[child]) <= 8, held[child]
        assert await ask(parent, address, "inheritable") == []
        # The fork server watches those above it; its nodes have not taken that over.
        watches = [link for link in links_of(child) if "pidfd" in link]
        assert launcher == "subprocess" or not watches


def channels_of(pid: int) -> set[str]:
    """Return the sockets and pipes that a process holds, but for those that it writes its output to."""
    return {link for link in links_of(pid) if link.startswith(("socket:", "pipe:"))}


def links_of(pid: int) -> set[str]:
    """Return what the descriptors of a process are, but for those that it writes its output to."""
    found = set()
    for name in os.listdir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # it has been closed since
            if name not in ("1", "2"):
                found.add(os.readlink(f"/proc/{pid}/fd/{name}"))
    return found


async def test_children_do_not_share_random_ids(parent: Node) -> None:
    addresses = await spawn_many(parent, misfit(on_start=note), 20)
    ids: list[str] = []

    async def collect(address: NodeAddress) -> None:
        ids.extend(await ask(parent, address, "ids", 50))
        ids.extend(await ask(parent, address, "call_ids", addresses[0], 50))

    async with trio.open_nursery() as nursery:
        for address in addresses:
            nursery.start_soon(collect, address)
    assert len(ids) == 20 * (4 * 50 + 50)
    assert len(set(ids)) == len(ids)


@each_launcher
async def test_sigterm_stops_a_child_cleanly_and_no_handler_is_inherited(parent: Node, launcher: str) -> None:
    address = await parent.local.status.spawn(misfit(launcher))
    handlers = await ask(parent, address, "signals")
    assert handlers == {"SIGCHLD": "SIG_DFL", "SIGHUP": "SIG_DFL", "SIGUSR1": "SIG_DFL"}
    masks = await ask(parent, address, "kernel_signals")
    caught = {number for number in range(1, 32) if masks["SigCgt"] >> (number - 1) & 1}
    # The fork server has imported the web stack; from Python 3.13 on that imports readline, which wants to know of a
    # terminal's size.
    by_readline = {signal.SIGWINCH} if launcher == "forkserver" and sys.version_info >= (3, 13) else set()
    assert caught == {signal.SIGINT, signal.SIGTERM} | by_readline
    assert masks["SigBlk"] == 0
    events = parent.events()
    os.kill(await ask(parent, address, "pid"), signal.SIGTERM)
    assert await anext(events) == ChildEnded(node=address, status=0)


@each_launcher
async def test_a_child_imports_from_where_its_parent_does_and_takes_nothing_from_its_standard_input(
    parent: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, launcher: str
) -> None:
    await parent.local.status.spawn(misfit(launcher))  # the fork server has been started before the path changes
    (tmp_path / "only_here.py").write_text("class Found:\n    get = staticmethod(lambda: 'found')\n", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    services = SERVICES | {"found": "tests.launchers.misfit:FromOnlyHere"}
    address = await parent.local.status.spawn(NodeConfig(launcher=launcher, services=services))
    assert await parent.local.comm.send([], Remote(node=address, service="found", method="get")) == "found"
    assert await ask(parent, address, "read_input") == ""
    assert await ask(parent, address, "pid") > 0
