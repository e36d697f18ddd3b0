"""Lists, tuples, sets and dicts."""

from __future__ import annotations

import collections.abc
from typing import TYPE_CHECKING, Any, Final

from trionet.hashing import dict_of, frozenset_of, set_of
from trionet.user_code import attempt

from .base import Converter, Misfit, are_same, at, each, made, mismatch

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ARRAYS", "MAPPINGS", "ArrayConverter", "DictConverter", "FixedTupleConverter"]

_MAKE: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    tuple: tuple,
    set: lambda items: made(set_of, list(items)),
    frozenset: lambda items: made(frozenset_of, list(items)),
}
ARRAYS: Final[dict[Any, tuple[type, ...]]] = {
    list: (list,),
    tuple: (tuple,),
    set: (set,),
    frozenset: (frozenset,),
    collections.abc.MutableSequence: (list,),
    collections.abc.Sequence: (list, tuple),
    collections.abc.MutableSet: (set,),
    collections.abc.Set: (set, frozenset),
    collections.abc.Collection: (list, tuple, set, frozenset),
}
MAPPINGS: Final = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})


class ArrayConverter(Converter):
    """A list, a tuple of any length, a set, and the ABCs of these."""

    def __init__(self, kind: Any, item: Converter | None) -> None:
        super().__init__(kind.__name__, *ARRAYS[kind])
        self._item = item
        self.exact: type | None = self.kinds[0] if item is None and len(self.kinds) == 1 else None
        self.lowers: bool = item is not None and item.lowers

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        kind = type(value)
        is_natural = kind in self.kinds
        if not is_natural and not (is_json and kind in _MAKE):
            raise mismatch(self.expected, value)
        items = value if self._item is None else each(value, self._item, is_json)
        return value if is_natural and items is value else _MAKE[kind if is_natural else self.kinds[0]](items)

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`."""
        kind = type(value)
        if self._item is None or kind not in self.kinds:
            return value
        lowered = [self._item.lower(item) for item in value]
        return value if are_same(lowered, value) else attempt(_MAKE[kind], lowered, default=value)


class FixedTupleConverter(Converter):
    """A tuple with a type for each place."""

    def __init__(self, items: tuple[Converter | None, ...]) -> None:
        super().__init__("tuple", tuple)
        self._items = items
        self.lowers: bool = any(item is not None and item.lowers for item in items)

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        if type(value) is not tuple and not (is_json and type(value) is list):
            raise mismatch(self.expected, value)
        if len(value) != len(self._items):
            raise Misfit(f"Expected a `tuple` of length {len(self._items)}, got {len(value)}")
        converted = tuple(
            item if converter is None else at(f"[{index}]", converter, item, is_json)
            for index, (converter, item) in enumerate(zip(self._items, value, strict=True))
        )
        return value if type(value) is tuple and are_same(converted, value) else converted

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`."""
        if type(value) is not tuple or len(value) != len(self._items):
            return value
        pairs = zip(self._items, value, strict=True)
        lowered = tuple(item if converter is None else converter.lower(item) for converter, item in pairs)
        return value if are_same(lowered, value) else lowered


class DictConverter(Converter):
    """A dict, and its ABCs."""

    def __init__(self, key: Converter | None, item: Converter | None) -> None:
        super().__init__("dict", dict)
        self._key = key
        self._item = item
        self.lowers: bool = any(one is not None and one.lowers for one in (key, item))
        self.exact: type | None = dict if key is None and item is None else None

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        if type(value) is not dict:
            raise mismatch(self.expected, value)
        keys, values = value.keys(), value.values()
        new_keys = keys if self._key is None else each(keys, self._key, is_json, "[key]")
        new_values = values if self._item is None else each(values, self._item, is_json, "[...]")
        if new_keys is keys and new_values is values:
            return value
        return made(dict_of, list(new_keys), new_values)

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`."""
        if type(value) is not dict:
            return value
        keys = list(value) if self._key is None else [self._key.lower(key) for key in value]
        items = list(value.values()) if self._item is None else [self._item.lower(item) for item in value.values()]
        if are_same(keys, value) and are_same(items, value.values()):
            return value
        return attempt(dict_of, keys, items, default=value)
