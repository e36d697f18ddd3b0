"""A start of which a host neither ends nor fails."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest
import trio

from tests.cluster.files import plan_of
from trionet import NodeAddress, NodeConfig, SpawnError
from trionet.cli.cluster.starting import start_all

if TYPE_CHECKING:
    from pathlib import Path

    from trionet import Node

SLOW = 100.0
HOSTS = "[hosts.a]\nlocal = true\nslots = 2\nport = 7000\n[hosts.b]\nlocal = true\nslots = 2\nport = 8000\n"


class Spawner:
    """A node that spawns at once; but nodes from port 8000 on after `slow_s`."""

    def __init__(self, slow_s: float) -> None:
        self.local = self.status = self
        self._slow_s = slow_s

    def launcher(self, _: str) -> None:
        """Return none: nothing is launched."""

    def register_launcher(self, name: str, launcher: object) -> None:
        """Register nothing."""

    async def spawn(self, config: NodeConfig) -> NodeAddress:
        """Return its address."""
        await trio.sleep(self._slow_s if config.port >= 8000 else 0)
        return NodeAddress("127.0.0.1", config.port)


class Impaired(Spawner):
    """A node that has launchers, but finds the first one that is asked for missing."""

    def __init__(self) -> None:
        super().__init__(0.0)
        self._asked = 0

    def launcher(self, _: str) -> None:
        """Raise, the first time."""
        self._asked += 1
        if self._asked == 1:
            raise SpawnError("can't import the launchers")


async def start(folder: Path, slow_s: float, least: int) -> tuple[list[str | None], float]:
    """Start two nodes each on two hosts, one of them slow; return the hosts of those that run, and the time."""
    plan = plan_of(folder, HOSTS, least=least)
    begun = trio.current_time()
    started = await start_all(cast("Node", Spawner(slow_s)), plan)  # that much of one is used
    return [each.host for each in started], trio.current_time() - begun


@pytest.mark.parametrize(
    ("slow_s", "least", "hosts", "seconds"),
    [
        (10.0, 2, ["a", "a", "b", "b"], 10.0),
        (SLOW, 2, ["a", "a"], 75.0),
        (SLOW, 3, ["a", "a", "b", "b"], SLOW),
        (1000.0, 4, ["a", "a", "b", "b"], 1000.0),
    ],
)
async def test_a_host_that_does_not_start_is_named_and_given_up_where_enough_have_started(
    autojump_clock: trio.testing.MockClock,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    slow_s: float,
    least: int,
    hosts: list[str],
    seconds: float,
) -> None:
    found, took = await start(tmp_path, slow_s, least)
    assert found == hosts
    assert took == pytest.approx(seconds)
    said = capsys.readouterr().err
    assert ("trionet up: b: 2 nodes have not started yet" in said) is (slow_s >= SLOW)
    assert ("trionet up: b: 2 nodes have not started, and are given up" in said) is (len(hosts) == 2)
    assert "a:" not in said


async def test_a_host_whose_launcher_is_missing_fails_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan = plan_of(tmp_path, HOSTS, least=2)
    assert len(await start_all(cast("Node", Impaired()), plan)) == 2
    assert capsys.readouterr().err.count("can't import the launchers") == 1
    with pytest.raises(SpawnError, match="2 of 4 nodes have started, and 4 are needed"):
        await start_all(cast("Node", Impaired()), plan._replace(least=4))
