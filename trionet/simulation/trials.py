"""A trial: one cluster, one program, one schedule of faults and the invariants; data that can be replayed."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.config import NodeConfig
from trionet.errors import ConfigError
from trionet.import_paths import import_reference

from .fault import Fault, faults_from
from .rules import Network
from .scenarios import schedule_of
from .workload import busy, open_workload

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from trionet import Node

    from .cluster import Simulation

__all__ = ["Trial"]

_LEAST_STORM: Final = 250_000
_STORM_PER_S: Final = 1000


class Trial(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True):
    """One run of a cluster, as data.

    Attributes:
        seed: the seed of all random numbers.
        nodes: the number of nodes.
        duration_s: for how long faults may last, except for the end of nodes that don't start again.
        settle_s: the most time after the faults for the cluster to recover.
        network: the network without faults: the name of one of `networks`, or a `Network`.
        scenario: the source of the faults: the name of one of `SCENARIOS`, or the import path of such a function.
        faults: the faults themselves, in place of a scenario.
        program: the program that runs meanwhile: the import path of an async function of the `Simulation`; None for
            `workload.busy`.
        config: the import path of the nodes' configuration, or of a function of a node's place that returns it.
        invariants: the invariants, each as for `invariant_of`; None for all `INVARIANTS`.
        most_messages: the most messages, which ends a storm of them; None for 1,000 per node and second of the
            duration, and at least 250,000. Sane: some times the expected number.
    """

    seed: int = 0
    nodes: int = 5
    duration_s: float = 20.0
    settle_s: float = 60.0
    network: str | Network = "lan"
    scenario: str = "anything"
    faults: list[Fault] | None = None
    program: str | None = None
    config: str | None = None
    invariants: list[str] | None = None
    most_messages: int | None = None

    def schedule(self) -> list[Fault]:
        """Return the faults; none outlasts the trial's duration, except for a node that ends for good."""
        faults = self.faults
        if faults is None:
            faults = schedule_of(self.scenario, self.nodes, self.duration_s, Random(f"{self.seed} faults"))
        return [_within(fault, self.duration_s) for fault in faults if fault.at_s < self.duration_s]

    def explicit(self) -> Trial:
        """Return the same trial with its faults in place of its scenario."""
        return msgspec.structs.replace(self, faults=self.schedule(), scenario="anything")

    def to_json(self) -> str:
        """Return it as one line of JSON."""
        return msgspec.json.encode(self).decode()

    @classmethod
    def from_json(cls, data: str | bytes) -> Trial:
        """Return the trial that `to_json` has encoded.

        Raises:
            ConfigError: it is none, or has a kind of fault that isn't imported.
        """
        try:
            fields = msgspec.json.decode(data, type=dict[str, Any])
            faults = fields.pop("faults", None)
            trial = msgspec.convert(fields, cls)
            return trial if faults is None else msgspec.structs.replace(trial, faults=faults_from(faults))
        except (msgspec.MsgspecError, TypeError) as exc:
            raise ConfigError(f"no trial: {exc}") from exc

    def limit(self) -> int:
        """Return the most messages."""
        if self.most_messages is not None:
            return self.most_messages
        return max(_LEAST_STORM, int(_STORM_PER_S * self.nodes * self.duration_s))

    def main(self) -> Callable[[Simulation], Awaitable[object]]:
        """Return the program."""
        found: Callable[[Simulation], Awaitable[object]] = (
            busy if self.program is None else import_reference(self.program)
        )
        return found

    def configure(self, index: int) -> NodeConfig:
        """Return the configuration of a node."""
        found = NodeConfig() if self.config is None else import_reference(self.config)
        if callable(found):
            found = found(index)
        if not isinstance(found, NodeConfig):
            raise ConfigError(f"{self.config} is no NodeConfig")
        if self.program is None:
            found = msgspec.structs.replace(found, on_start=_with_workload(found.on_start))
        return found


def _within(fault: Fault, until_s: float) -> Fault:
    """Return the fault, over by `until_s`; a node that ends for good doesn't start again."""
    if fault.duration_s is None and fault.ended_nodes():
        return fault
    longest_s = until_s - fault.at_s
    if fault.duration_s is not None and fault.duration_s <= longest_s:
        return fault
    return msgspec.structs.replace(fault, duration_s=longest_s)


def _with_workload(on_start: Any) -> Callable[[Node], Awaitable[None]]:
    """Return a function that registers the workload, and then runs the configured `on_start`."""

    async def start(node: Node) -> None:
        await open_workload(node)
        function = import_reference(on_start) if isinstance(on_start, str) else on_start
        result = None if function is None else function(node)
        if result is not None:
            await result

    return start
