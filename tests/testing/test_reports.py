"""The report of a failed test: its seed, a command that fails again in the same way, and the traces of its clusters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.testing.inner import WITH_MODE, WITHOUT_MODE, replay, section_of, traces_of, write
from trionet.simulation import Trace

if TYPE_CHECKING:
    from pathlib import Path

RACE = """
class Stock:
    def __init__(self):
        self.left = 1

    @trionet.rpc
    async def sell(self):
        if self.left:
            await trio.sleep(0.01)
            self.left -= 1

async def open_shop(node):
    node.stock = Stock()
    await node.local.routes.put(node.stock, "stock")

{mark}
@pytest.mark.trionet_seeds(30)
async def test_race(trionet_cluster):
    sim = await trionet_cluster(3, config=trionet.NodeConfig(on_start=open_shop))

    async def buy(node):
        await trio.sleep(0.1 * sim.random.random())
        await node.local.comm.send([], trionet.Remote(node=sim.address(0), service="stock", method="sell"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(buy, sim.nodes[1])
        nursery.start_soon(buy, sim.nodes[2])
    assert sim.nodes[0].stock.left == 0, f"oversold after {{sim.now!r}} s, trace {{sim.trace.hash()}}"
"""
SEEDED = "async def test_bad(trionet_cluster):\n    await trionet_cluster(2)\n    assert not 'good'\n"


def failures(result: pytest.RunResult) -> list[str]:
    """Return the texts of the failed assertions of `RACE`."""
    return [line.partition("oversold ")[2].strip() for line in result.outlines if "AssertionError: oversold" in line]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ini", "mark"), [(WITH_MODE, ""), (WITHOUT_MODE, "@pytest.mark.trio")], ids=["mode", "marked"]
)
def test_the_command_that_a_failure_shows_fails_again_in_the_same_way(
    pytester: pytest.Pytester, ini: str, mark: str
) -> None:
    write(pytester, RACE.format(mark=mark), ini)
    first = pytester.runpytest()
    outcomes = first.parseoutcomes()
    assert outcomes["failed"] >= 1
    assert outcomes["passed"] >= 1
    seed = section_of(first)["seed"][0]
    assert section_of(first)["replay"] == [f"pytest test_inner.py::test_race --trionet-seed {seed}"]
    assert failures(first)[0]
    (trace,) = traces_of(first)
    events = trace.read_bytes()
    again = replay(pytester, first)
    again.assert_outcomes(failed=1)
    assert failures(again) == failures(first)[:1]
    assert section_of(again)["replay"] == section_of(first)["replay"]
    assert traces_of(again)[0].read_bytes() == events


@pytest.mark.slow
def test_a_failure_in_one_of_several_processes_is_reported_and_can_be_replayed(pytester: pytest.Pytester) -> None:
    write(pytester, RACE.format(mark=""))
    alone, spread = pytester.runpytest(), pytester.runpytest_subprocess("-n", "2")
    assert spread.parseoutcomes() == alone.parseoutcomes()
    assert sorted(failures(spread)) == sorted(failures(alone))
    (trace,) = traces_of(spread)
    assert len(Trace.load(trace)) > 10
    assert failures(replay(pytester, spread)) == failures(spread)[:1]


@pytest.mark.slow
def test_a_command_names_other_parameters_and_the_way_from_here(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(
        pytester,
        """
class TestShop:
    @pytest.mark.parametrize("what", ["it's", "b"])
    @pytest.mark.trionet_seeds(2)
    def test_odd(self, what, trionet_seed):
        assert (what, trionet_seed) != ("it's", 1)
""",
        WITHOUT_MODE,
    )
    here = pytester.mkdir("elsewhere")
    monkeypatch.chdir(here)
    result = pytester.runpytest("..")
    result.assert_outcomes(failed=1, passed=3)
    command = """pytest '../test_inner.py::TestShop::test_odd[it'"'"'s-seed1]' --trionet-seed 1"""
    assert section_of(result) == {"seed": ["1"], "replay": [command]}
    replay(pytester, result).assert_outcomes(failed=1)


def test_traces_are_kept_among_pytests_temporary_files(pytester: pytest.Pytester, tmp_path: Path) -> None:
    write(pytester, SEEDED)
    result = pytester.runpytest("--basetemp", str(tmp_path / "base"))
    assert traces_of(result) == [tmp_path / "base" / "trionet" / "test_inner.py-test_bad.jsonl"]
    trace = Trace.load(traces_of(result)[0])
    assert {event.what for event in trace.select("state", node="n0", peer="n1")} == {"MemberJoined"}
    assert len(trace.select("deliver")) > 2


def test_an_option_sets_the_folder_of_traces(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
@pytest.mark.parametrize("what", ["a/b", "a-b", "x" * 300])
async def test_two(trionet_cluster, what):
    await trionet_cluster(1)
    await trionet_cluster(2)
    await trionet_cluster(2, is_traced=False)
    assert 0
""",
    )
    result = pytester.runpytest("--trionet-trace-dir", "kept/traces")
    result.assert_outcomes(failed=3)
    folder = pytester.path / "kept" / "traces"
    assert len(traces_of(result)) == 2
    assert {path.parent for path in traces_of(result)} == {folder}
    files = sorted(folder.iterdir())
    assert len(files) == 6
    assert {event.node for path in files for event in Trace.load(path)} == {"n0", "n1"}
    assert {path.name for path in files} >= {
        "test_inner.py-test_two-a-b.jsonl",
        "test_inner.py-test_two-a-b.2.jsonl",
    }


def test_a_trace_that_cannot_be_saved_hides_no_failure(pytester: pytest.Pytester) -> None:
    write(pytester, SEEDED)
    pytester.makefile(".txt", taken="a file")
    result = pytester.runpytest("--trionet-trace-dir", "taken.txt")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*assert not 'good'*", "trace:  it can't be saved: *taken.txt*"])


def test_passed_skipped_and_expected_failures_leave_nothing(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
async def test_good(trionet_cluster):
    await trionet_cluster(2)

async def test_skipped(trionet_cluster):
    await trionet_cluster(2)
    pytest.skip("not today")

@pytest.mark.xfail
async def test_expected(trionet_cluster):
    await trionet_cluster(2)
    assert 0
""",
    )
    result = pytester.runpytest("--trionet-trace-dir", "traces", "-rA")
    result.assert_outcomes(passed=1, skipped=1, xfailed=1)
    assert "-- trionet --" not in result.stdout.str()
    assert not (pytester.path / "traces").exists()


def test_a_failure_without_a_seed_has_no_section(pytester: pytest.Pytester) -> None:
    write(pytester, "def test_plain():\n    assert 0\n\nasync def test_nodes(trionet_nodes):\n    assert 0\n")
    result = pytester.runpytest()
    result.assert_outcomes(failed=2)
    assert "-- trionet --" not in result.stdout.str()


def test_a_failure_at_the_end_of_a_fixture_is_reported(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
@pytest.fixture
def checked():
    yield
    assert 0

async def test_end(checked, trionet_cluster):
    await trionet_cluster(2)
""",
    )
    result = pytester.runpytest("--trionet-trace-dir", "traces")
    result.assert_outcomes(passed=1, errors=1)
    assert section_of(result)["replay"] == ["pytest test_inner.py::test_end --trionet-seed 0"]
    assert [path.name for path in traces_of(result)] == ["test_inner.py-test_end.jsonl"]


def test_a_failure_while_a_cluster_starts_is_reported(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
from trionet.simulation import Network

async def test_never(trionet_cluster):
    with trio.fail_after(60):
        await trionet_cluster(2, network=Network(loss=1.0))
""",
    )
    result = pytester.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*TooSlowError*"])
    (trace,) = traces_of(result)
    assert Trace.load(trace).select("drop", node="n1", peer="n0")
