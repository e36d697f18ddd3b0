"""The options of a test. Names and defaults are Maelstrom's (``src/maelstrom/core.clj``, ``opt-spec``)."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from trionet.errors import ConfigError

from .checkers.models import canonical_model
from .topologies import TOPOLOGIES

if TYPE_CHECKING:
    from .latency import Distribution

__all__ = ["FAULTS", "Options", "parse_availability", "parse_concurrency", "parse_faults", "parse_models"]

FAULTS: Final = ("partition", "kill", "pause")


@dataclass(frozen=True, slots=True)
class Options:
    """The options of a test.

    Attributes:
        workload: the name of the workload, such as ``"broadcast"``.
        bin: the program of a node; in a simulation, a challenge's name, an import path ``module:function``, or a
            Python file with a function ``build``.
        arguments: the program's arguments.
        nodes: the names of the nodes.
        concurrency: the number of workers; the i-th uses the node i modulo the number of nodes.
        rate: the maximum of operations per second. 0: none before the final ones.
        time_limit_s: the duration, without the final operations.
        latency_ms, latency_dist: the latency of messages between nodes, and between nodes and services.
        p_loss: the probability that such a message is lost.
        nemesis: the faults, of `FAULTS`.
        nemesis_interval_s: the mean time between them.
        availability: the fraction of operations that must be ok: ``"total"`` for all of them, None for any.
        consistency_models: the models that transactions must obey.
        topology: the topology for broadcast nodes.
        key_count, max_txn_length, max_writes_per_key: for transactions and logs; None is the default.
        init_timeout_s: the time limit of the initialisation.
        seed: the seed of all choices; simulations with the same seed are the same.
        is_simulated: whether nodes run in this process, in virtual time.
        log_stderr: whether the standard error of nodes is shown as well.
        compares_final_reads: whether an element that any final read misses makes the test invalid, which Maelstrom
            overlooks.
    """

    workload: str = "lin-kv"
    bin: str = ""
    arguments: tuple[str, ...] = ()
    nodes: tuple[str, ...] = ("n1", "n2", "n3", "n4", "n5")
    concurrency: int = 5
    rate: float = 5.0
    time_limit_s: float = 60.0
    latency_ms: int = 0
    latency_dist: Distribution = "constant"
    p_loss: float = 0.0
    nemesis: tuple[str, ...] = ()
    nemesis_interval_s: float = 10.0
    availability: float | str | None = None
    consistency_models: tuple[str, ...] = ("strict-serializable",)
    topology: str = "grid"
    key_count: int | None = None
    max_txn_length: int = 4
    max_writes_per_key: int = 16
    init_timeout_s: float = 10.0
    seed: int = 0
    is_simulated: bool = False
    log_stderr: bool = False
    compares_final_reads: bool = True

    def __post_init__(self) -> None:
        """Check the values.

        Raises:
            ConfigError: a value is out of range.
        """
        _require(self.bin != "", "--bin is missing: the program of a node")
        _require(len(self.nodes) >= 1, "there must be a node")
        _require(len(set(self.nodes)) == len(self.nodes), "two nodes have the same name")
        _require(self.concurrency >= 1, "--concurrency must be positive")
        _require(self.rate >= 0, "--rate can't be negative")
        _require(self.time_limit_s > 0, "--time-limit must be positive")
        _require(self.latency_ms >= 0, "--latency must be non-negative")
        _require(0 <= self.p_loss <= 1, "--p-loss is a probability")
        _require(self.init_timeout_s > 0, "--init-timeout must be positive")
        _require(self.nemesis_interval_s > 0, "--nemesis-interval must be positive")
        _require(self.max_txn_length >= 1, "--max-txn-length must be positive")
        _require(self.max_writes_per_key >= 1, "--max-writes-per-key must be positive")
        _require(self.key_count is None or self.key_count >= 1, "--key-count must be positive")
        _require(self.topology in TOPOLOGIES, f"--topology is one of {', '.join(TOPOLOGIES)}")


def _require(condition: bool, text: str) -> None:
    if not condition:
        raise ConfigError(text)


def parse_concurrency(text: str, nodes: int) -> int:
    """Return the number of workers that ``10`` or ``4n`` denotes.

    Raises:
        ConfigError: it is neither.
    """
    match = re.fullmatch(r"(\d+)(n?)", text)
    if match is None or int(match[1]) == 0:
        raise ConfigError(f"--concurrency is a number, or one of so many per node such as 4n, not {text!r:.40}")
    return int(match[1]) * (nodes if match[2] else 1)


def parse_availability(text: str) -> float | str:
    """Return the availability that ``total``, or a number from 0 to 1, denotes.

    Raises:
        ConfigError: it is neither.
    """
    if text == "total":
        return text
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 <= number <= 1:
        raise ConfigError(f"--availability is 'total' or a number from 0 to 1, not {text!r:.40}")
    return number


def parse_faults(text: str) -> tuple[str, ...]:
    """Return the faults of a list with commas, each once.

    Raises:
        ConfigError: there is no such fault.
    """
    faults = tuple(dict.fromkeys(each.strip() for each in text.split(",")))
    for fault in faults:
        if fault not in FAULTS:
            raise ConfigError(f"--nemesis knows {', '.join(FAULTS)}, not {fault!r:.40}")
    return faults


def parse_models(text: str) -> tuple[str, ...]:
    """Return the consistency models of a list with commas; spaces do no harm.

    Raises:
        ConfigError: there is no such model.
    """
    models = tuple(each.strip() for each in text.split(","))
    for model in models:
        canonical_model(model)
    return models
