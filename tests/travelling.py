"""Values that travel: how to make any, and when two are the same."""

from __future__ import annotations

import dataclasses
import datetime
import math
import struct
import uuid
import zoneinfo
from typing import Any

import msgspec
from hypothesis import strategies as st

from trionet import errors, register_type
from trionet.errors import TrionetError, error_to_wire
from trionet.identity import NodeAddress
from trionet.replies import Aggregate, Replies

__all__ = ["ERROR_TYPES", "Mixed", "Parcel", "Point", "Shelf", "addresses", "is_same", "values"]


@register_type
class Point(msgspec.Struct, frozen=True):
    """A Struct that can be a key."""

    x: Any
    y: Any = 0


@register_type(name="test:shelf")
@dataclasses.dataclass
class Shelf:
    """A dataclass, mutable, with a default and a keyword-only field."""

    items: Any
    label: Any = "?"
    rank: Any = dataclasses.field(default=0, kw_only=True)


@register_type
@dataclasses.dataclass(frozen=True, slots=True)
class Parcel:
    """A dataclass that can be a key."""

    content: Any


@register_type(name="$odd \N{SNOWMAN}")
class Mixed(msgspec.Struct, kw_only=True, rename="camel", tag="mixed", omit_defaults=True):
    """A Struct whose own encoding by msgspec would look quite different."""

    first_field: Any = None
    second_field: Any = None


ERROR_TYPES: tuple[type[TrionetError], ...] = tuple(
    kind
    for kind in (getattr(errors, name) for name in errors.__all__)
    if isinstance(kind, type) and issubclass(kind, TrionetError)
)


def is_same(one: Any, other: Any) -> bool:
    """Whether two values are equal, and have equal types all the way down; nan is the same as nan, 0.0 not as -0.0."""
    if type(one) is not type(other):
        return False
    if isinstance(one, set | frozenset):
        return _are_same_in_any_order(one, other)
    if (parts := _parts(one)) is not None:
        return _are_same(parts, _parts(other))
    return bool(one == other)


def _parts(value: Any) -> list[Any] | None:
    """Return what has to be the same in two values for them to be; None where their being equal says it."""
    match value:
        case float():
            return ["nan"] if math.isnan(value) else [struct.pack("d", value)]
        case list() | tuple():
            return list(value)
        case dict():
            return [*value.keys(), *value.values()]
        case datetime.datetime():
            return [value.isoformat(), value.utcoffset(), value.fold]
        case TrionetError():
            return [error_to_wire(value), value.node]
    return [getattr(value, name) for name in names] if (names := _attributes(value)) else None


def _attributes(value: Any) -> list[str]:
    if isinstance(value, Replies):
        return ["values", "errors", *(["value"] if isinstance(value, Aggregate) else [])]
    if isinstance(value, msgspec.Struct):
        return list(value.__struct_fields__)
    return [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []


def _are_same(ones: Any, others: Any) -> bool:
    return len(ones) == len(others) and all(map(is_same, ones, others))


def _are_same_in_any_order(ones: Any, others: Any) -> bool:
    left = list(others)
    for one in ones:
        index = next((index for index, other in enumerate(left) if is_same(one, other)), None)
        if index is None:
            return False
        del left[index]
    return not left


_offsets = st.timedeltas(
    min_value=datetime.timedelta(hours=-23, minutes=-59), max_value=datetime.timedelta(hours=23, minutes=59)
)
_integers = st.one_of(
    st.integers(),
    st.sampled_from([2**63 - 1, 2**63, 2**64 - 1, 2**64, -(2**63), -(2**63) - 1, 2**53 + 1]),
    # Thousands of digits; made without decimals, of which Python converts no more than 4,300.
    st.binary(min_size=2_000, max_size=4_000).map(lambda data: int.from_bytes(data, "big", signed=True)),
)
_texts = st.one_of(st.text(), st.text().map(lambda text: f"${text}"), st.sampled_from(["$int", "$map", "$", "\0"]))

addresses = st.builds(
    NodeAddress, st.text(min_size=1, max_size=253) | st.just("127.0.0.1"), st.integers(min_value=0, max_value=65_535)
)


@st.composite
def _errors(draw: st.DrawFn) -> TrionetError:
    kind = draw(st.sampled_from(ERROR_TYPES))
    details = st.one_of(st.none(), _texts, _integers, st.lists(_texts), st.dictionaries(_texts, _texts))
    error = kind(draw(_texts), **{name: draw(details) for name in kind.fields})
    error.node = draw(st.none() | addresses.map(str))
    return error


def _is_plain(value: datetime.datetime) -> bool:
    """Whether it is none of an hour that its time zone skips or repeats: it wouldn't equal itself at a fixed offset."""
    return value.replace(fold=0).utcoffset() == value.replace(fold=1).utcoffset()


_scalars: st.SearchStrategy[Any] = st.one_of(
    st.none(),
    st.booleans(),
    _integers,
    st.floats(),
    st.builds(float, st.sampled_from(["nan", "-nan", "inf", "-inf", "-0.0", "5e-324", "1.7976931348623157e308"])),
    _texts,
    st.binary(),
    st.builds(
        lambda value, fold: value if type(value.tzinfo) is zoneinfo.ZoneInfo else value.replace(fold=fold),
        st.datetimes(timezones=st.none() | st.builds(datetime.timezone, _offsets) | st.timezones()).filter(_is_plain),
        st.integers(0, 1),
    ),
    st.uuids() | st.just(uuid.UUID(int=0)),
    addresses,
    _errors(),
)

_keys: st.SearchStrategy[Any] = st.recursive(
    _scalars,
    lambda keys: st.one_of(
        st.lists(keys, max_size=3).map(tuple),
        st.frozensets(keys, max_size=3),
        st.builds(Point, keys, keys),
        st.builds(Parcel, keys),
    ),
    max_leaves=4,
)


def _containers(items: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    by_sid = st.dictionaries(_texts, items, max_size=3)
    errors_by_sid = st.dictionaries(_texts, _errors(), max_size=3)
    return st.one_of(
        st.lists(items, max_size=5),
        st.lists(items, max_size=5).map(tuple),
        st.dictionaries(_texts, items, max_size=4),
        st.dictionaries(st.integers(), items, max_size=4),
        st.dictionaries(_keys, items, max_size=4),
        st.sets(_keys, max_size=4),
        st.frozensets(_keys, max_size=4),
        st.builds(Point, items, items),
        st.builds(Shelf, items, items, rank=items),
        st.builds(Mixed, first_field=items, second_field=items),
        st.builds(Replies, by_sid, errors_by_sid),
        st.builds(Aggregate, items, by_sid, errors_by_sid),
    )


values: st.SearchStrategy[Any] = st.recursive(_scalars, _containers, max_leaves=15)
"""Any value that travels."""
