"""The seeds of a test: the marker, the options, and their combination with other parameters."""

from __future__ import annotations

import pytest

from tests.testing.inner import WITHOUT_MODE, write

MARKED = """
@pytest.mark.trionet_seeds(4)
def test_marked(trionet_seed):
    assert isinstance(trionet_seed, int)

def test_bare(trionet_seed):
    pass

def test_other():
    pass
"""


def names(pytester: pytest.Pytester, *args: str) -> list[str]:
    """Return the names of the tests that pass; all have to."""
    result = pytester.runpytest("-v", *args)
    assert result.ret == 0, result.stdout.str()
    return [line.partition("::")[2].split()[0] for line in result.outlines if "::" in line and " PASSED" in line]


def test_a_marked_test_runs_once_for_each_of_so_many_seeds(pytester: pytest.Pytester) -> None:
    write(pytester, MARKED, WITHOUT_MODE)
    marked = ["test_marked[seed0]", "test_marked[seed1]", "test_marked[seed2]", "test_marked[seed3]"]
    assert names(pytester) == [*marked, "test_bare", "test_other"]


@pytest.mark.slow
def test_an_option_sets_another_number(pytester: pytest.Pytester) -> None:
    write(pytester, MARKED, WITHOUT_MODE)
    assert names(pytester, "--trionet-seeds", "1") == ["test_marked[seed0]", "test_bare", "test_other"]
    assert len(names(pytester, "--trionet-seeds", "20")) == 22


@pytest.mark.slow
def test_an_option_sets_one_seed_for_all_tests_and_overrides_the_rest(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
@pytest.mark.trionet_seeds(4)
def test_marked(trionet_seed):
    assert trionet_seed == 77

@pytest.mark.trionet_seeds([3, 9])
def test_listed(trionet_seed):
    assert trionet_seed == 77

def test_bare(trionet_seed):
    assert trionet_seed == 77

async def test_cluster(trionet_cluster):
    sim = await trionet_cluster(2)
    assert sim.seed == trionet_cluster.seed == 77
""",
    )
    expected = ["test_marked[seed77]", "test_listed[seed77]", "test_bare", "test_cluster"]
    assert names(pytester, "--trionet-seed", "77", "--trionet-seeds", "20") == expected
    assert "trionet: --trionet-seed 77" in pytester.runpytest("--trionet-seed", "77").stdout.lines
    pytester.runpytest().assert_outcomes(failed=8)


def test_without_a_marker_and_an_option_the_seed_is_0(pytester: pytest.Pytester) -> None:
    write(pytester, "def test_bare(trionet_seed):\n    assert trionet_seed == 0\n", WITHOUT_MODE)
    pytester.runpytest().assert_outcomes(passed=1)


def test_seeds_can_be_listed(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
@pytest.mark.trionet_seeds([17, 4711, -3])
def test_list(trionet_seed):
    assert trionet_seed in (17, 4711, -3)

@pytest.mark.trionet_seeds(range(1000, 1002))
def test_range(trionet_seed):
    assert trionet_seed in (1000, 1001)
""",
        WITHOUT_MODE,
    )
    listed = ["test_list[seed17]", "test_list[seed4711]", "test_list[seed-3]"]
    assert names(pytester, "--trionet-seeds", "9") == [*listed, "test_range[seed1000]", "test_range[seed1001]"]


def test_a_marker_of_a_class_or_module_means_those_of_its_tests_that_use_a_seed(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
pytestmark = pytest.mark.trionet_seeds(2)

class TestShop:
    def test_plain(self):
        pass

    @pytest.mark.trionet_seeds(1)
    def test_own(self, trionet_seed):
        pass

    async def test_cluster(self, trionet_cluster):
        await trionet_cluster(2)

@pytest.mark.trionet_seeds(3)
class TestMore:
    @pytest.mark.parametrize("kind", ["a", "b"])
    def test_kinds(self, kind, trionet_seed):
        pass
""",
    )
    assert sorted(names(pytester)) == [
        *(f"TestMore::test_kinds[{kind}-seed{seed}]" for kind in "ab" for seed in range(3)),
        "TestShop::test_cluster[seed0]",
        "TestShop::test_cluster[seed1]",
        "TestShop::test_own[seed0]",
        "TestShop::test_plain",
    ]


@pytest.mark.slow
def test_each_seed_has_its_own_run_which_is_repeatable(pytester: pytest.Pytester) -> None:
    write(
        pytester,
        """
import random

hashes = {}

@pytest.mark.parametrize("turn", [1, 2])
@pytest.mark.trionet_seeds(3)
async def test_hash(trionet_cluster, trionet_seed, turn):
    begun = []

    async def begin(number):
        begun.append(number)

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(begin, number)
    sim = await trionet_cluster(3)
    async with trio.open_nursery() as nursery:
        for node in sim.nodes:
            nursery.start_soon(node.all.status.get, "nid")
    await trio.sleep(5)
    hashes.setdefault(trionet_seed, set()).add((sim.trace.hash(), random.random(), *begun))

def test_hashes():
    assert [len(each) for each in hashes.values()] == [1, 1, 1]
    assert len(set.union(*hashes.values())) == 3
""",
    )
    pytester.runpytest().assert_outcomes(passed=7)


@pytest.mark.parametrize(
    "arguments", ["", "0", "-1", "True", "'5'", "1.5", "[]", "[1, 'two']", "3, 4", "n=3", "3, shuffle=True"]
)
def test_a_marker_with_wrong_arguments_is_refused_with_a_sentence(pytester: pytest.Pytester, arguments: str) -> None:
    write(pytester, f"@pytest.mark.trionet_seeds({arguments})\ndef test_a(trionet_seed): pass\n", WITHOUT_MODE)
    result = pytester.runpytest()
    assert result.ret != 0
    text = result.stdout.str() + result.stderr.str()
    assert f"test_inner.py::test_a is marked trionet_seeds({arguments}), and the marker takes a number" in text
    assert "Traceback" not in text
    assert "pytest_trionet.py" not in text


def test_a_marker_on_a_test_that_uses_no_seed_is_refused(pytester: pytest.Pytester) -> None:
    write(pytester, "@pytest.mark.trionet_seeds(3)\ndef test_a(): pass\n", WITHOUT_MODE)
    result = pytester.runpytest()
    assert result.ret != 0
    expected = "test_inner.py::test_a uses none of the fixtures trionet_seed and trionet_cluster, and is marked"
    assert expected in result.stdout.str() + result.stderr.str()


@pytest.mark.parametrize("args", [("--trionet-seeds", "0"), ("--trionet-seeds", "-5")])
def test_an_option_with_no_number_of_seeds_is_refused(pytester: pytest.Pytester, args: tuple[str, ...]) -> None:
    result = pytester.runpytest(*args)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["ERROR: --trionet-seeds takes a number of seeds, at least 1, and this is *"])


def test_the_marker_explains_itself(pytester: pytest.Pytester) -> None:
    result = pytester.runpytest("--markers")
    result.stdout.fnmatch_lines(["@pytest.mark.trionet_seeds(seeds): run the test once for each*"])
