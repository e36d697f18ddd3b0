"""The pytest plugin of trionet: fixtures, a marker and options for tests of clusters; docs/testing.md describes it.

Every run of pytest where trionet is installed loads this file, even if no test uses it. Invariant: it imports neither
trionet nor Trio before a test needs them; so it is outside the package. The fixtures' values are in `trionet.testing`.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn, TypeGuard, cast

import pytest

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator, Sequence

    from trionet.simulation import Simulation
    from trionet.testing import ClusterFactory, NodeFactory

__all__: list[str] = []

_SEED: Final = "trionet_seed"
_MARKER: Final = "trionet_seeds"
_DEFAULT_SEED: Final = 0
_VIRTUAL_CLOCKS: Final = ("autojump_clock", "mock_clock", "trionet_cluster")
_LONGEST_NAME: Final = 150


class _Clusters(NamedTuple):
    """The simulated clusters of one test, and the folder for their traces if it fails."""

    sims: list[Simulation]
    folder: Callable[[], Path]


_clusters: Final = pytest.StashKey[_Clusters]()


# ------------------------------------------------------------------------------------------------------------- options


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("trionet")
    group.addoption(
        "--trionet-seed", type=int, metavar="N", help="run each test that uses a seed with this one only: replay it"
    )
    group.addoption(
        "--trionet-seeds", type=int, metavar="N", help="run each test marked trionet_seeds(count) for N seeds instead"
    )
    group.addoption(
        "--trionet-trace-dir",
        metavar="DIR",
        help="save the traces of failed tests' clusters there (default: a directory of pytest's temporary ones)",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "trionet_seeds(seeds): run the test once for each of so many seeds, or for each seed of a list; "
        "the fixtures trionet_seed and trionet_cluster follow it",
    )
    count = config.getoption("--trionet-seeds")
    if count is not None and count < 1:
        raise pytest.UsageError(f"--trionet-seeds takes a number of seeds, at least 1, and this is {count}")


def pytest_report_header(config: pytest.Config) -> str | None:
    """Report that tests run with an unusual seed."""
    seed = config.getoption("--trionet-seed")
    return None if seed is None else f"trionet: --trionet-seed {seed}"


# --------------------------------------------------------------------------------------------------------------- seeds


@pytest.hookimpl(trylast=True)
def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a marked test once for each of its seeds, combined with its other parameters."""
    marker = metafunc.definition.get_closest_marker(_MARKER)
    if marker is None:
        return
    seeds = _seeds_of(marker, metafunc)
    if _SEED in metafunc.fixturenames:
        metafunc.parametrize(_SEED, seeds, indirect=True, ids=[f"seed{seed}" for seed in seeds])
    elif marker in metafunc.definition.own_markers:  # on a class or a module it applies to tests that use a seed
        _refuse(metafunc, f"uses none of the fixtures trionet_seed and trionet_cluster, and is marked {_MARKER}")


def _seeds_of(marker: pytest.Mark, metafunc: pytest.Metafunc) -> Sequence[int]:
    given = marker.args[0] if len(marker.args) == 1 and not marker.kwargs else None
    if _is_int(given) and given >= 1:
        seeds: Sequence[int] = range(metafunc.config.getoption("--trionet-seeds") or given)
    elif isinstance(given, (list, tuple, range)) and given and all(map(_is_int, given)):
        seeds = given
    else:
        arguments = [*map(repr, marker.args), *(f"{name}={value!r}" for name, value in marker.kwargs.items())]
        _refuse(
            metafunc,
            f"is marked {_MARKER}({', '.join(arguments)}), and the marker takes a number of seeds, at least 1, "
            f"or a list of seeds: @pytest.mark.{_MARKER}(50)",
        )
    only = metafunc.config.getoption("--trionet-seed")
    return seeds if only is None else [only]


def _is_int(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


def _refuse(metafunc: pytest.Metafunc, reason: str) -> NoReturn:
    _fail(f"{metafunc.definition.nodeid} {reason}")


def _fail(reason: str) -> NoReturn:
    """Fail a test without a traceback, which pytest would show for a UsageError."""
    pytest.fail(reason, pytrace=False)


@pytest.fixture
def trionet_seed(request: pytest.FixtureRequest) -> int:
    """The seed of this test: that of the marker trionet_seeds, or of --trionet-seed, or 0."""
    only = request.config.getoption("--trionet-seed")
    seed: int = getattr(request, "param", _DEFAULT_SEED if only is None else only)
    return seed


# ------------------------------------------------------------------------------------------------------------ clusters


@pytest.fixture
async def trionet_cluster(_trionet_virtual_time: _Clusters, trionet_seed: int) -> AsyncGenerator[ClusterFactory]:
    """Starts simulated clusters in virtual time, which end with the test.

    ``sim = await trionet_cluster(5)`` returns a `trionet.simulation.Simulation`; see `trionet.testing.ClusterFactory`.
    """
    from trionet.testing.clusters import open_cluster_factory

    async with open_cluster_factory(trionet_seed, _trionet_virtual_time.sims.append) as factory:
        yield factory


@pytest.fixture
async def trionet_nodes(_trionet_real_time: None) -> AsyncGenerator[NodeFactory]:
    """Starts real nodes on the loopback interface, which stop with the test.

    ``nodes = await trionet_nodes(3)`` returns a list of `trionet.Node`; see `trionet.testing.NodeFactory`.
    """
    from trionet.testing.nodes import open_node_factory

    async with open_node_factory() as factory:
        yield factory


@pytest.fixture
def _trionet_virtual_time(
    request: pytest.FixtureRequest, trionet_seed: int, tmp_path_factory: pytest.TempPathFactory
) -> _Clusters:
    """Make pytest-trio run the test in virtual time, deterministically."""
    item = request.node
    _check_that_trio_runs(item, "trionet_cluster")
    if hasattr(item.obj, "hypothesis"):
        _fail(
            "trionet_cluster lives as long as a test, and Hypothesis runs this one many times: "
            "run each example by trionet.simulation.run(main, seed=seed)",
        )
    from trionet.simulation.running import run_virtually

    item.add_marker(pytest.mark.trio(run=run_virtually(_chosen_run(item), trionet_seed)), append=False)

    def folder() -> Path:
        chosen = item.config.getoption("--trionet-trace-dir")
        if chosen is None:
            return tmp_path_factory.getbasetemp() / "trionet"
        path: Path = item.config.invocation_params.dir / chosen
        return path

    clusters = item.stash[_clusters] = _Clusters([], folder)
    return clusters


@pytest.fixture
def _trionet_real_time(request: pytest.FixtureRequest) -> None:
    """Check that the test can use real nodes."""
    _check_that_trio_runs(request.node, "trionet_nodes")
    for name in _VIRTUAL_CLOCKS:
        if name in request.fixturenames:
            _fail(
                f"trionet_nodes are real nodes, with real sockets and in real time, and {name} makes time virtual: "
                "they can't be used in one test",
            )


def _check_that_trio_runs(item: pytest.Item, fixture: str) -> None:
    if not item.config.pluginmanager.hasplugin("trio"):
        _fail(
            f"{fixture} needs pytest-trio, which isn't installed, or is switched off: pip install 'trionet[testing]'",
        )
    if item.get_closest_marker("trio") is None:
        _fail(
            f"{fixture} needs an async test that pytest-trio runs: mark it @pytest.mark.trio, or set trio_mode = true",
        )


def _chosen_run(item: pytest.Item) -> Callable[..., Any]:
    """Return the function by which pytest-trio would run the test."""
    for marker in item.iter_markers("trio"):
        if marker.kwargs.get("run") is not None:
            return cast("Callable[..., Any]", marker.kwargs["run"])
    from pytest_trio.plugin import choose_run  # type: ignore[import-untyped]

    return cast("Callable[..., Any]", choose_run(item.config))


# ------------------------------------------------------------------------------------------------------------- reports


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report for a failed test its seed, the command to replay it, and the files of its traces."""
    report = yield
    seed = getattr(item, "funcargs", {}).get(_SEED)
    if report.failed and _is_int(seed):
        lines = [f"seed:   {seed}", f"replay: {_replay_command(item, seed)}"]
        lines += [f"trace:  {line}" for line in _saved_traces(item)]
        report.sections.append(("trionet", "\n".join(lines)))
    if call.when == "teardown" and _clusters in item.stash:
        del item.stash[_clusters]
    return report


def _replay_command(item: pytest.Item, seed: int) -> str:
    path = os.path.relpath(item.path, item.config.invocation_params.dir)
    test = item.nodeid.partition("::")[2].removesuffix(f"[seed{seed}]")
    return shlex.join(["pytest", f"{path}::{test}", "--trionet-seed", str(seed)])


def _saved_traces(item: pytest.Item) -> list[str]:
    """Save the traces of a test's clusters; return their paths, or why they can't be saved."""
    clusters = item.stash.get(_clusters, _Clusters([], Path))
    lines = []
    for index, sim in enumerate(clusters.sims):
        if sim.trace is None:
            continue
        try:
            folder = clusters.folder()
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{_file_name(item.nodeid)}{f'.{index + 1}' if index else ''}.jsonl"
            sim.trace.save(path)
            lines.append(str(path))
        except OSError as exc:
            lines.append(f"it can't be saved: {exc}")
    return lines


def _file_name(nodeid: str) -> str:
    """Return a file name for a test, unique to it."""
    path, _, test = nodeid.partition("::")
    plain = f"{path.replace('/', '-')}-{test.replace('::', '-').replace('[', '-', 1).removesuffix(']')}"
    name = re.sub(r"[^\w.-]+", "-", plain, flags=re.ASCII)
    if name == plain and len(name) <= _LONGEST_NAME:
        return name
    return f"{name[:_LONGEST_NAME]}-{hashlib.sha256(nodeid.encode()).hexdigest()[:8]}"
