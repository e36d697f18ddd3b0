"""What the fields of faults and networks may be, by their names: what is wrong is refused when it is made.

Invariant: what has passed can be kept as JSON and made again from that.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    import msgspec

__all__ = ["check_fields"]


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_chance(value: Any) -> bool:
    return _is_number(value) and 0 <= value <= 1


def _is_time(value: Any) -> bool:
    return _is_number(value) and 0 <= value < math.inf


def _is_duration(value: Any) -> bool:
    return _is_number(value) and value >= 0


def _is_positive(value: Any) -> bool:
    return _is_number(value) and 0 < value < math.inf


def _is_node(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_list(value: Any, is_item: Callable[[Any], bool]) -> bool:
    return isinstance(value, list | tuple) and all(map(is_item, value))


def _are_nodes(value: Any) -> bool:
    return _is_list(value, _is_node)


def _are_sides(value: Any) -> bool:
    return _is_list(value, _are_nodes)


_Check = tuple["Callable[[Any], bool]", str]
_CHANCE: Final[_Check] = _is_chance, "a chance from 0 to 1"
_TIME: Final[_Check] = _is_time, "a number of seconds, at least 0"
_POSITIVE: Final[_Check] = _is_positive, "a number above 0"
_NODES: Final[_Check] = _are_nodes, "a list of nodes' places, 0 or more"
_CHECKS: Final[dict[str, _Check]] = {
    "at_s": _TIME,
    "bytes_per_s": _POSITIVE,
    "duplicates": _CHANCE,
    "duration_s": (_is_duration, "a number of seconds, at least 0"),
    "forward_s": _TIME,
    "lag_s": _TIME,
    "latency_s": _TIME,
    "least_s": _TIME,
    "loss": _CHANCE,
    "node": (_is_node, "a node's place, 0 or more"),
    "nodes": _NODES,
    "rate": _POSITIVE,
    "reordered": _CHANCE,
    "reordered_by_s": _TIME,
    "sides": (_are_sides, "a list of lists of nodes' places, 0 or more"),
    "sources": _NODES,
    "targets": _NODES,
}


def check_fields(made: msgspec.Struct, optional: Collection[str]) -> None:
    """See whether the fields that have the names above are what they may be; `optional` ones may be None.

    Raises:
        ConfigError: one isn't; the text names it.
    """
    for name in made.__struct_fields__:
        value = getattr(made, name)
        if name not in _CHECKS or (value is None and name in optional):
            continue
        is_right, expected = _CHECKS[name]
        if not is_right(value):
            raise ConfigError(f"{type(made).__name__}: {name} is {expected}, not {value!r:.100}")
