"""The plugin's fixtures, in runs of pytest of their own: on both of pytest-trio's modes, and where they can't work."""

from __future__ import annotations

import pytest

from tests.testing.inner import WITH_MODE, WITHOUT_MODE, write

CLUSTER = """
{mark}
async def test_minutes({fixtures}):
    sim = await trionet_cluster()
    assert isinstance(sim, trionet.simulation.Simulation)
    assert len(sim.nodes) == 3
    assert all(len(node.members()) == 3 for node in sim.nodes)
    begun = trio.current_time()
    await trio.sleep(300)
    assert trio.current_time() - begun == 300
    assert {clock}
"""

BOTH_MODES = pytest.mark.parametrize(
    ("ini", "mark"), [(WITH_MODE, ""), (WITHOUT_MODE, "@pytest.mark.trio")], ids=["mode", "marked"]
)


@BOTH_MODES
@pytest.mark.parametrize(
    ("fixtures", "clock"),
    [
        ("trionet_cluster", "True"),
        ("trionet_cluster, autojump_clock", "trio.lowlevel.current_clock() is autojump_clock"),
        ("autojump_clock, trionet_cluster", "trio.lowlevel.current_clock() is autojump_clock"),
    ],
    ids=["alone", "clock last", "clock first"],
)
def test_a_cluster_runs_in_virtual_time_with_a_clock_and_without(
    pytester: pytest.Pytester, ini: str, mark: str, fixtures: str, clock: str
) -> None:
    write(pytester, "import trionet.simulation\n" + CLUSTER.format(mark=mark, fixtures=fixtures, clock=clock), ini)
    pytester.runpytest().assert_outcomes(passed=1)


def test_a_cluster_is_configured_as_an_open_cluster_is(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
from trionet.simulation import Crash

async def test_settings(trionet_cluster):
    config = lambda index: trionet.NodeConfig(port=7000 + index)
    sim = await trionet_cluster(2, seed=5, network="wan", config=config, faults=[Crash(at_s=1, node=1)])
    assert sim.seed == 5
    assert [node.address.port for node in sim.nodes] == [7000, 7001]
    begun = sim.now
    await sim.nodes[0].all.status.get("nid")
    assert sim.now - begun > 0.04
    await trio.sleep(2)
    assert sim.is_crashed(1)
""",
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_a_cluster_ends_with_the_test_and_not_with_the_scope_of_its_start(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
async def test_scope(trionet_cluster):
    with trio.move_on_after(5) as scope:
        sim = await trionet_cluster()
        scope.cancel()
        await trio.sleep(1)
    await trio.sleep(60)
    assert sim.is_converged()
    assert len(sim.nodes[0].members()) == 3
""",
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_fixtures_and_methods_of_the_user_get_the_virtual_time_too(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
@pytest.fixture
async def sim(trionet_cluster):
    return await trionet_cluster(2)

class TestShop:
    @pytest.mark.parametrize("seconds", [60, 120])
    async def test_sleep(self, sim, seconds):
        await trio.sleep(seconds)
        assert sim.now > seconds
        assert len(sim.nodes) == 2
""",
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_the_run_function_of_a_marker_is_kept(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
runs = []

def run(*args, **kwargs):
    runs.append(kwargs["clock"])
    return trio.run(*args, **kwargs)

@pytest.mark.trio(run=run)
async def test_own_run(trionet_cluster):
    await trionet_cluster()
    assert runs == [trio.lowlevel.current_clock()]
""",
        WITHOUT_MODE,
    )
    pytester.runpytest().assert_outcomes(passed=1)


def test_two_clusters_of_one_test_do_not_disturb_each_other(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
from trionet.testing import assert_no_orphans

async def test_two(trionet_cluster):
    sims = [await trionet_cluster(3), await trionet_cluster(5)]
    await trio.sleep(60)
    for sim in sims:
        assert_no_orphans(sim)
        assert not sim.trace.select("state", what="MemberSuspected")
        assert max(event.at for event in sim.trace.select("state", what="MemberJoined")) < 1
""",
    )
    pytester.runpytest().assert_outcomes(passed=1)


@BOTH_MODES
def test_real_nodes_are_one_cluster_and_stop_with_the_test(pytester: pytest.Pytester, ini: str, mark: str) -> None:
    write(
        pytester,
        f"""
import socket
addresses = []

{mark}
async def test_nodes(trionet_nodes):
    config = trionet.NodeConfig(tags={{"role": "shop"}}, join=["127.0.0.1:1"])
    nodes = await trionet_nodes(config=config)
    assert isinstance(nodes, list) and len({{node.address for node in nodes}}) == 3
    for node in nodes:
        assert [member.tags for member in node.members()] == [{{"role": "shop"}}] * 3
    others = await trionet_nodes(2, config=lambda index: trionet.NodeConfig(tags={{"place": str(index)}}))
    assert [[member.tags["place"] for member in sorted(node.members(), key=lambda m: m.tags["place"])]
            for node in others] == [["0", "1"]] * 2
    replies = await nodes[0].all.status.get("port")
    assert sorted(replies.values.values()) == sorted(node.address.port for node in nodes)
    addresses.extend(node.address for node in nodes + others)

def test_stopped():
    assert len(addresses) == 5
    for address in addresses:
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection((address.ip, address.port))
""",
        ini,
    )
    pytester.runpytest().assert_outcomes(passed=2)


@pytest.mark.parametrize("other", ["autojump_clock", "mock_clock", "trionet_cluster"])
def test_real_nodes_and_virtual_time_in_one_test_are_refused(pytester: pytest.Pytester, other: str) -> None:
    write(pytester, f"async def test_mixed(trionet_nodes, {other}):\n    await trionet_nodes()\n")
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines([f"trionet_nodes are real nodes,*and {other} makes time virtual:*"])


def test_real_nodes_on_a_virtual_clock_of_the_users_are_refused(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
@pytest.fixture
def my_clock():
    return trio.testing.MockClock(autojump_threshold=0)

async def test_mixed(trionet_nodes, my_clock):
    with pytest.raises(RuntimeError, match="trionet_nodes are real nodes with real sockets, and this test's clock is"):
        await trionet_nodes()

@pytest.fixture
def fast_clock():
    return trio.testing.MockClock(rate=2)

async def test_a_faster_clock_is_accepted(trionet_nodes, fast_clock):
    assert len(await trionet_nodes(2)) == 2
""",
    )
    pytester.runpytest().assert_outcomes(passed=2)


def test_a_cluster_on_a_clock_that_stands_still_is_refused(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
async def test_still(trionet_cluster, mock_clock):
    with pytest.raises(RuntimeError, match="this test's clock stands still"):
        await trionet_cluster()
    mock_clock.autojump_threshold = 0
    assert len((await trionet_cluster()).nodes) == 3
""",
    )
    pytester.runpytest().assert_outcomes(passed=1)


@pytest.mark.parametrize("fixture", ["trionet_cluster", "trionet_nodes"])
def test_a_test_that_trio_does_not_run_fails_with_a_hint(pytester: pytest.Pytester, fixture: str) -> None:
    write(pytester, f"async def test_a({fixture}): pass\ndef test_b({fixture}): pass\n", WITHOUT_MODE)
    result = pytester.runpytest()
    result.assert_outcomes(errors=2)
    message = f"{fixture} needs an async test that pytest-trio runs: mark it @pytest.mark.trio, or set trio_mode = true"
    assert result.stdout.lines.count(message) == 2


def test_a_test_of_hypothesis_fails_with_a_hint(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
from hypothesis import given, strategies

@given(strategies.integers())
async def test_many(trionet_cluster, number):
    pass
""",
    )
    result = pytester.runpytest()
    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["trionet_cluster lives as long as a test,*trionet.simulation.run(main, seed=seed)"])


@pytest.mark.slow
@pytest.mark.parametrize("fixture", ["trionet_cluster", "trionet_nodes"])
def test_without_pytest_trio_the_fixtures_fail_with_a_hint(pytester: pytest.Pytester, fixture: str) -> None:
    pytester.makeini("[pytest]\nfilterwarnings = error\n")
    pytester.makepyfile(
        f"""
        async def test_a({fixture}): pass
        def test_seed(trionet_seed): assert trionet_seed == 0
        """
    )
    result = pytester.runpytest_subprocess("-p", "no:trio")
    result.assert_outcomes(errors=1, passed=1)
    result.stdout.fnmatch_lines([f"{fixture} needs pytest-trio, which isn't installed,*pip install 'trionet?testing?'"])


def test_an_exception_of_a_nodes_start_fails_the_test(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
def fail(node):
    raise ValueError("out of beans")

async def test_cluster(trionet_cluster):
    with pytest.raises(ValueError, match="out of beans"):
        await trionet_cluster(config=trionet.NodeConfig(on_start=fail))

async def test_nodes(trionet_nodes):
    with pytest.raises(ValueError, match="out of beans"):
        await trionet_nodes(config=trionet.NodeConfig(on_start=fail))
""",
    )
    pytester.runpytest().assert_outcomes(passed=2)
