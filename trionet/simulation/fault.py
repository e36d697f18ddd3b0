"""A fault is data: when it begins, how long it lasts, and its effect; a list of faults is a schedule.

So a schedule can be saved, changed, shrunk and played again. A kind of fault is a subclass of `Fault`: it declares the
kinds of its fields (see `fields`) and implements its begin. No other code depends on it: its values are checked, it
can be decoded, shrunk, and shown in pictures. A process that decodes it must have defined it, or its tag is its import
path. Nodes are named by their place in `Simulation.nodes`; a node that doesn't exist is ignored, so that a schedule
fits fewer nodes, too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Union

import msgspec

from trionet.errors import ConfigError
from trionet.import_paths import import_reference, is_reference

from .arguments import require
from .cluster import check_schedule
from .fields import SHORTEST_S, Duration, Seconds, check_fields, fields_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Self

    from .cluster import Simulation, Undo
    from .fields import Field

__all__ = ["Fault", "decode_schedule", "encode_schedule", "faults_from"]

_TAG: Final = "fault"
_DIGITS: Final = (0, 1, 2)
_TIMES: Final = ("at_s", "duration_s")


class Fault(msgspec.Struct, frozen=True, kw_only=True, tag_field=_TAG, omit_defaults=True):
    """A fault; a base class.

    Attributes:
        at_s: when it begins, in seconds since the schedule began.
        duration_s: how long it lasts; None for as long as the simulation.

    Raises:
        ConfigError: a time is negative, or another value is invalid; the text names the field.
    """

    at_s: Seconds
    duration_s: Duration | None = None

    def __post_init__(self) -> None:
        """Check the fields."""
        check_fields(self)

    def begin(self, sim: Simulation) -> Undo | None:
        """Begin; return a function that ends it, if it can be ended."""
        raise NotImplementedError

    def ended_nodes(self) -> list[int]:
        """Return the nodes that it ends, by a crash or gracefully; without a duration they don't start again."""
        return []

    def clock_error_s(self, duration_s: float) -> float:
        """Return the seconds by which it sets a clock wrong, with `duration_s` in place of a missing duration."""
        return 0.0

    # ---- shrinking

    def without(self, index: int) -> Self | None:
        """Return the fault after a node is removed, and those after it move up; None if it was about this node."""
        changes = {field.name: field.kind.without(value, index) for field, value in self._values()}
        return None if None in changes.values() else msgspec.structs.replace(self, **changes)

    def weaker(self) -> Iterator[Self]:
        """Yield weaker faults, the weakest first: fields at their defaults, then each nearer to nothing."""
        effects = [(field, value) for field, value in self._values() if not (field.kind.nodes or field.name in _TIMES)]
        for field, _ in effects:
            if field.default is not msgspec.NODEFAULT:
                yield msgspec.structs.replace(self, **{field.name: field.default})
        for field, value in effects:
            for weaker in field.kind.weaker(value):
                yield msgspec.structs.replace(self, **{field.name: weaker})

    def simpler(self) -> Iterator[Self]:
        """Yield simpler faults, the simplest first: weaker, shorter, and at rounder times."""
        yield from self.weaker()
        if self.duration_s is not None and self.duration_s > SHORTEST_S:
            yield msgspec.structs.replace(self, duration_s=max(SHORTEST_S, round(self.duration_s / 2, 1)))
        for digits in _DIGITS:
            at_s = round(self.at_s, digits)
            lasting_s = None if self.duration_s is None else max(SHORTEST_S, round(self.duration_s, digits))
            if (at_s, lasting_s) == (self.at_s, self.duration_s):
                return
            yield msgspec.structs.replace(self, at_s=at_s, duration_s=lasting_s)

    def _values(self) -> list[tuple[Field, Any]]:
        """Return the fields that aren't None, with their values."""
        values = [(field, getattr(self, field.name)) for field in fields_of(type(self))]
        return [(field, value) for field, value in values if value is not None]

    # ---- in words

    @property
    def sentence(self) -> str:
        """Its times, its class and its fields, in one line."""
        parts = []
        for field in msgspec.structs.fields(self):
            value = getattr(self, field.name)
            if field.name not in _TIMES and value != field.default:
                parts.append(f"{field.name}={f'{value:g}' if isinstance(value, float) else value}")
        lasting = "for good" if self.duration_s is None else f"for {self.duration_s:g} s"
        return f"at {self.at_s:g} s, {lasting}: {' '.join([type(self).__name__, *parts])}"

    @property
    def title(self) -> str:
        """The kind, in a word or two."""
        return type(self).__name__.lower()

    @property
    def label(self) -> str:
        """The fault in a few words."""
        return " ".join([self.title, *(f"n{node}" for node in self.nodes_named())])

    def nodes_named(self) -> list[int]:
        """Return the nodes that its fields name."""
        return [node for field, value in self._values() if field.kind.nodes for node in field.kind.nodes(value)]


def encode_schedule(schedule: Iterable[Fault]) -> bytes:
    """Return a schedule as JSON.

    Raises:
        ConfigError: it is none.
    """
    return msgspec.json.encode(check_schedule(schedule))


def decode_schedule(data: bytes | str) -> list[Fault]:
    """Return the schedule that `encode_schedule` has encoded.

    Raises:
        ConfigError: it is none, or has a kind of fault that isn't imported.
    """
    require(data, bytes | str, "a schedule is decoded from JSON, bytes or a text")
    try:
        return faults_from(msgspec.json.decode(data))
    except msgspec.MsgspecError as exc:
        raise ConfigError(f"no schedule: {exc}") from exc


def faults_from(decoded: Any) -> list[Fault]:
    """Return the faults of decoded JSON: of all kinds that are defined so far, or whose tag is their import path.

    Raises:
        msgspec.ValidationError: it is no list of faults.
        ConfigError: a kind can't be imported.
    """
    _import_kinds(decoded)
    schedule: Any = list[Union[tuple(_kinds(Fault).values())]]  # type: ignore[misc]  # noqa: UP007  computed
    faults: list[Fault] = msgspec.convert(decoded, schedule)
    return faults


def _import_kinds(decoded: Any) -> None:
    """Import the kinds that another process has named by their import paths."""
    for fault in decoded if isinstance(decoded, list) else ():
        tag = fault.get(_TAG) if isinstance(fault, dict) else None
        if isinstance(tag, str) and is_reference(tag):
            import_reference(tag)


def _kinds(base: type[Fault]) -> dict[Any, type[Fault]]:
    """Return all subclasses, by their tags; of a redefined kind the latest."""
    found: dict[Any, type[Fault]] = {}
    for kind in base.__subclasses__():
        found |= {kind.__struct_config__.tag: kind} | _kinds(kind)
    return found
