"""Sets and dicts of received values, made in linear time.

CPython's hashes of numbers, UUIDs, tuples and frozensets hold no secret: ``hash(n)`` is n modulo 2**61 - 1, and those
of the others follow from it, so that a sender can choose any number of values that share a hash. Each of them is
compared with all earlier ones when it is put into a set, and n of them take n**2 comparisons. Of integers of 64 bits at
most 17 can share one; of floats some 200, those whose exponents are the same modulo 61 and whose digits are rotations
of each other; and the hashes of texts and bytes are secret.

Invariant: at most `MAX_SAME_HASH` of the values of one container share a hash.
"""

from __future__ import annotations

import datetime
import operator
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, TypeVar

from .errors import DecodeError
from .user_code import described, pass_endings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

__all__ = ["MAX_SAME_HASH", "check_hashes", "dict_of", "frozenset_of", "set_of"]

T = TypeVar("T")

MAX_SAME_HASH: Final = 64
"""How many members of a set, or keys of a dict, may share a hash."""

_SPREAD: Final = frozenset({str, bytes, bool, type(None), datetime.datetime})
_SPREAD_INT: Final = 2**64


def set_of(values: Sequence[Any]) -> set[Any]:
    """Return the set of `values`.

    Raises:
        DecodeError: one of them can't be hashed, or too many of them share a hash.
    """
    check_hashes(values)
    return _made(lambda: set(values), "not a set")


def frozenset_of(values: Sequence[Any]) -> frozenset[Any]:
    """Return the frozenset of `values`; see `set_of`."""
    return frozenset(set_of(values))


def dict_of(keys: Sequence[Any], values: Iterable[Any]) -> dict[Any, Any]:
    """Return the dict of `keys` and their `values`; see `set_of`."""
    check_hashes(keys)
    return _made(lambda: dict(zip(keys, values, strict=True)), "not a dict")


def check_hashes(values: Sequence[Any]) -> None:
    """Raise `DecodeError` when one of `values` can't be hashed, or more than `MAX_SAME_HASH` of them share a hash."""
    if len(values) <= MAX_SAME_HASH or all(map(_is_spread, values)):
        return
    hashes = _made(lambda: sorted(map(hash, values)), "no member of a set or key of a dict")
    # In order, so that equal ones are neighbours.
    if any(map(operator.eq, hashes, islice(hashes, MAX_SAME_HASH, None))):
        raise DecodeError(f"more than {MAX_SAME_HASH} members of a set or keys of a dict share a hash")


def _made(make: Callable[[], T], failure: str) -> T:
    """Return ``make()``, which hashes or compares values; raise `DecodeError` if that fails."""
    try:
        return make()
    except BaseException as exc:  # a hash or a comparison of the user's; or a list
        pass_endings(exc)
        raise DecodeError(f"{failure}: {described(exc)}") from exc


def _is_spread(value: Any) -> bool:
    """Return whether `value` is of a type and size of which no more than `MAX_SAME_HASH` share a hash."""
    kind = type(value)
    return kind in _SPREAD or (kind is int and -_SPREAD_INT <= value <= _SPREAD_INT)
