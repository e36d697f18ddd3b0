"""Whether a value is of the type that an annotation names, and what of it has to be converted.

A value that travels between nodes keeps its type, and so it must have the type that is asked for: a text is no
``bytes``, and a list no ``set``. Three things are converted nevertheless. An ``int`` does for a ``float``. A dict with
its fields does for a dataclass, a Struct, a ``TypedDict``. And what can't travel as itself is made from what stands for
it: an enum from its value, a ``date`` or a ``Decimal`` from its text.

JSON that a person wrote has fewer types. There, in addition, a text does for ``bytes`` (base64), ``datetime`` and
``UUID``, and a list for a ``tuple`` or a ``set``.

Invariants: a value that needs no conversion is returned as the very object that it is, so that an instance of a subclass
stays one; what is converted never changes the original.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import functools
import types
import typing
import uuid
from typing import TYPE_CHECKING, Any, ClassVar, Final, NotRequired, Protocol, Required

import msgspec

from .hashing import dict_of, frozenset_of, set_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

__all__ = ["Converter", "Misfit", "converter_for"]


class Misfit(Exception):
    """A value is not of the type that is asked for: carries the reason up, gathering the path on the way."""

    def __init__(self, reason: str, place: str = "") -> None:
        self.reason = reason
        self.steps = [place]

    def __str__(self) -> str:
        place = "".join(reversed(self.steps))
        return f"{self.reason} - at `${place}`" if place else self.reason


class _WrongType(Misfit):
    """A value is of another type altogether."""


class Converter(Protocol):
    """What an annotation asks for.

    Attributes:
        expected: its name, for a person.
        exact: the type whose instances, subclasses aside, are taken as they are without a look inside; or None.
    """

    expected: str
    exact: type | None

    def is_natural(self, value: Any) -> bool:
        """Return whether `value` is of that type by itself, without a look inside."""
        ...

    def fit(self, value: Any, is_json: bool) -> Any:
        """Return `value` as that type.

        Args:
            value: any value.
            is_json: whether a person wrote it as JSON.

        Raises:
            Misfit: it is none.
        """
        ...


def converter_for(annotation: Any) -> Converter | None:
    """Return what `annotation` asks for; None where it says nothing that can be checked, and any value will do."""
    try:
        return _compiled(annotation)
    except TypeError:  # it can't be hashed, or is no type
        return None


@functools.lru_cache(maxsize=4096)
def _compiled(annotation: Any) -> Converter | None:
    if annotation is None or annotation is type(None):
        return _Plain(type(None))
    if annotation in _PLAIN:
        return _Plain(annotation)
    if annotation is float:
        return _Float()
    origin = typing.get_origin(annotation)
    if origin is typing.Annotated:
        return _constrained(annotation)
    if origin in (Required, NotRequired):
        return converter_for(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is types.UnionType:
        return _union(tuple(map(converter_for, typing.get_args(annotation))))
    if isinstance(annotation, typing.NewType):
        return converter_for(annotation.__supertype__)
    if (aliased := getattr(annotation, "__value__", None)) is not None and origin is None:  # `type X = ...`
        return converter_for(aliased)
    if isinstance(annotation, typing.TypeVar):
        return None if annotation.__bound__ is None else converter_for(annotation.__bound__)
    return _of_class(annotation, origin or annotation, typing.get_args(annotation))


def _of_class(annotation: Any, kind: Any, args: tuple[Any, ...]) -> Converter | None:
    if kind is tuple and args and args[-1] is not ...:
        return _FixedTuple(tuple(map(converter_for, args)))
    if kind is tuple:
        args = args[:1]
    if kind in _ARRAYS:
        return _Array(kind, converter_for(args[0]) if args else None)
    if kind in _MAPPINGS:
        return _Dict(*(map(converter_for, args) if args else (None, None)))
    if not isinstance(kind, type) or kind is object:
        return None if kind is object or not _is_known(annotation) else _Leaf(annotation)
    if issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind):
        return _Record(annotation, kind) if _is_known(annotation) else None
    if typing.is_typeddict(kind):
        return _TypedDict(kind)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return _NamedTuple(kind)
    return _Leaf(annotation) if _is_known(annotation) else None


def _is_known(annotation: Any) -> bool:
    """Return whether msgspec knows what it means."""
    try:
        msgspec.json.Decoder(annotation)
    except Exception:  # it looks into classes of the user's
        return False
    return annotation is not Any


class _Plain:
    """A type that travels as itself, and holds no other values."""

    def __init__(self, kind: type) -> None:
        self.expected = "None" if kind is type(None) else kind.__name__
        self.exact: type | None = kind

    def is_natural(self, value: Any) -> bool:
        return type(value) is self.exact

    def fit(self, value: Any, is_json: bool) -> Any:
        if type(value) is self.exact:
            return value
        if is_json and type(value) is str and self.exact in _FROM_TEXT:
            return _by_msgspec(value, self.exact, is_json=True)
        raise _mismatch(self.expected, value)


class _Float:
    """A float; an int does, too (PEP 484, "the numeric tower")."""

    expected = "float"
    exact: type | None = float

    def is_natural(self, value: Any) -> bool:
        return type(value) is float

    def fit(self, value: Any, is_json: bool) -> Any:
        if type(value) is float:
            return value
        if type(value) is not int:
            raise _mismatch(self.expected, value)
        try:
            return float(value)
        except OverflowError:
            raise Misfit("Expected `float`, got an `int` that is too large") from None


class _Leaf:
    """What can't travel as itself and is made from what stands for it; and types that msgspec only tells apart."""

    exact: type | None = None

    def __init__(self, annotation: Any) -> None:
        self._annotation = annotation
        self._kind = typing.get_origin(annotation) or annotation
        self.expected = getattr(self._kind, "__name__", str(annotation))

    def is_natural(self, value: Any) -> bool:
        return isinstance(self._kind, type) and isinstance(value, self._kind)

    def fit(self, value: Any, is_json: bool) -> Any:
        return _by_msgspec(value, self._annotation, is_json=is_json)


class _Constrained:
    """A type with constraints, ``Annotated[int, msgspec.Meta(ge=0)]``."""

    exact: type | None = None

    def __init__(self, inner: Converter, annotation: Any) -> None:
        self._inner = inner
        self._annotation = annotation
        self.expected = inner.expected

    def is_natural(self, value: Any) -> bool:
        return self._inner.is_natural(value)

    def fit(self, value: Any, is_json: bool) -> Any:
        fitting = self._inner.fit(value, is_json)
        _by_msgspec(fitting, self._annotation, is_json=is_json)
        return fitting


def _constrained(annotation: Any) -> Converter | None:
    kind, *metadata = typing.get_args(annotation)
    inner = converter_for(kind)
    bare = typing.get_origin(kind) or kind
    constraints = [one for one in metadata if isinstance(one, msgspec.Meta)]
    if inner is None or not constraints:
        return inner
    # Of the type only its outside: what is in it has been converted then.
    outside = bare
    for constraint in constraints:
        outside = typing.Annotated[outside, constraint]
    return _Constrained(inner, outside) if _is_known(outside) else inner


class _Array:
    """Items in a row or a heap: a list, a tuple of any length, a set, and the ABCs of these."""

    def __init__(self, kind: Any, item: Converter | None) -> None:
        self.expected = kind.__name__
        self._kinds = _ARRAYS[kind]
        self._item = item
        self.exact: type | None = self._kinds[0] if item is None and len(self._kinds) == 1 else None

    def is_natural(self, value: Any) -> bool:
        return type(value) in self._kinds

    def fit(self, value: Any, is_json: bool) -> Any:
        kind = type(value)
        is_natural = kind in self._kinds
        if not is_natural and not (is_json and kind in _MAKE):
            raise _mismatch(self.expected, value)
        items = value if self._item is None else _each(value, self._item, is_json)
        return value if is_natural and items is value else _MAKE[kind if is_natural else self._kinds[0]](items)


class _FixedTuple:
    """A tuple with a type for each place."""

    expected = "tuple"
    exact: type | None = None

    def __init__(self, items: tuple[Converter | None, ...]) -> None:
        self._items = items

    def is_natural(self, value: Any) -> bool:
        return type(value) is tuple

    def fit(self, value: Any, is_json: bool) -> Any:
        if type(value) is not tuple and not (is_json and type(value) is list):
            raise _mismatch(self.expected, value)
        if len(value) != len(self._items):
            raise Misfit(f"Expected a `tuple` of length {len(self._items)}, got {len(value)}")
        converted = tuple(
            item if converter is None else _at(f"[{index}]", converter, item, is_json)
            for index, (converter, item) in enumerate(zip(self._items, value, strict=True))
        )
        return value if type(value) is tuple and _are_same(converted, value) else converted


class _Dict:
    """A dict, and the ABCs of it."""

    expected = "dict"

    def __init__(self, key: Converter | None, item: Converter | None) -> None:
        self._key = key
        self._item = item
        self.exact: type | None = dict if key is None and item is None else None

    def is_natural(self, value: Any) -> bool:
        return type(value) is dict

    def fit(self, value: Any, is_json: bool) -> Any:
        if type(value) is not dict:
            raise _mismatch(self.expected, value)
        keys, values = value.keys(), value.values()
        new_keys = keys if self._key is None else _each(keys, self._key, is_json, "[key]")
        new_values = values if self._item is None else _each(values, self._item, is_json, "[...]")
        if new_keys is keys and new_values is values:
            return value
        return _made(dict_of, list(new_keys), new_values)


class _Union:
    """One of several types: the one that the value is by itself, else the first that it can be made to."""

    exact: type | None = None

    def __init__(self, options: tuple[Converter, ...]) -> None:
        self._options = options
        self.expected = " | ".join(option.expected for option in options)

    def is_natural(self, value: Any) -> bool:
        return any(option.is_natural(value) for option in self._options)

    def fit(self, value: Any, is_json: bool) -> Any:
        natural = [option for option in self._options if option.is_natural(value)]
        failure: Misfit = _mismatch(self.expected, value)
        for option in natural or self._options:
            try:
                return option.fit(value, is_json)
            except Misfit as misfit:
                if natural or not isinstance(misfit, _WrongType) or any(misfit.steps):
                    failure = misfit  # it tells more
        raise failure


def _union(options: tuple[Converter | None, ...]) -> Converter | None:
    known = tuple(option for option in options if option is not None)
    untagged = sum(isinstance(option, _TypedDict) or (type(option) is _Record and not option.is_tagged) for option in known)
    # A dict could be any of several records; trying them all would take time that is exponential in the depth.
    return None if len(known) < len(options) or untagged > 1 else _Union(known)


class _Record:
    """A Struct or a dataclass: an instance, of a subclass as well, or a dict with its fields."""

    def __init__(self, annotation: Any, kind: type) -> None:
        self._annotation = annotation
        self._kind = kind
        self.expected = kind.__name__
        self.exact: type | None = kind

    def is_natural(self, value: Any) -> bool:
        return isinstance(value, self._kind)

    def fit(self, value: Any, is_json: bool) -> Any:
        if isinstance(value, self._kind):
            return value
        if self._is_array and is_json and type(value) is list:
            value = dict(zip(self._places, value, strict=False))
        elif type(value) is not dict:
            raise _mismatch(self.expected, value)
        return _made(self._kind, **self._fields_of(value, is_json))

    @property
    def is_tagged(self) -> bool:
        return self._tag[0] is not None

    @functools.cached_property
    def _tag(self) -> tuple[str | None, Any]:
        config = getattr(self._kind, "__struct_config__", None)
        return (None, None) if config is None else (config.tag_field, config.tag)

    @functools.cached_property
    def _is_array(self) -> bool:
        return issubclass(self._kind, msgspec.Struct) and self._kind.__struct_config__.array_like

    @functools.cached_property
    def _is_closed(self) -> bool:
        return issubclass(self._kind, msgspec.Struct) and self._kind.__struct_config__.forbid_unknown_fields

    @functools.cached_property
    def _fields(self) -> tuple[_Field, ...]:
        """The fields; worked out at first use, because a type may hold itself."""
        return tuple(_struct_fields(self._annotation) if issubclass(self._kind, msgspec.Struct) else _dataclass_fields(self))

    @property
    def _places(self) -> list[str]:
        names = [field.key for field in self._fields]
        return names if self._tag[0] is None else [self._tag[0], *names]

    def _fields_of(self, value: dict[Any, Any], is_json: bool) -> dict[str, Any]:
        tag_field, tag = self._tag
        if tag_field is not None and value.get(tag_field, tag) != tag:
            raise Misfit(f"Invalid value {value[tag_field]!r:.40}", f".{tag_field}")
        if self._is_closed:
            known = {field.key for field in self._fields} | {tag_field}
            for name in value:
                if name not in known:
                    raise Misfit(f"Object contains unknown field `{name!s:.40}`")
        return _fitted(self._fields, value, is_json)


class _Field(msgspec.Struct, frozen=True):
    """A field of a record.

    Attributes:
        name: what the constructor calls it.
        key: what a dict calls it.
        converter: of its values.
        is_required: whether there is no default.
    """

    name: str
    key: str
    converter: Any
    is_required: bool


def _fitted(fields: Iterable[_Field], value: Mapping[Any, Any], is_json: bool) -> dict[str, Any]:
    """Return the fields that `value` has, by name."""
    found = {}
    for field in fields:
        if field.key in value:
            item = value[field.key]
            found[field.name] = (
                item if field.converter is None else _at(f".{field.key}", field.converter, item, is_json)
            )
        elif field.is_required:
            raise Misfit(f"Object missing required field `{field.key}`")
    return found


def _struct_fields(annotation: Any) -> list[_Field]:
    return [
        _Field(field.name, field.encode_name, converter_for(field.type), field.required)
        for field in msgspec.structs.fields(annotation)
    ]


def _dataclass_fields(record: _Record) -> list[_Field]:
    kind: Any = record._kind  # noqa: SLF001  of this module
    hints = _hints_of(kind)
    arguments = dict(zip(getattr(kind, "__parameters__", ()), typing.get_args(record._annotation), strict=False))  # noqa: SLF001
    return [
        _Field(
            field.name,
            field.name,
            converter_for(arguments.get(hints.get(field.name), hints.get(field.name, Any))),
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING,
        )
        for field in dataclasses.fields(kind)
        if field.init
    ]


class _TypedDict:
    """A dict with a type for each of its keys."""

    exact: type | None = None

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.expected = kind.__name__

    def is_natural(self, value: Any) -> bool:
        return type(value) is dict

    def fit(self, value: Any, is_json: bool) -> Any:
        if type(value) is not dict:
            raise _mismatch(self.expected, value)
        found = _fitted(self._fields, value, is_json)
        return value if all(value[name] is item for name, item in found.items()) else value | found

    @functools.cached_property
    def _fields(self) -> tuple[_Field, ...]:
        required = self._kind.__required_keys__
        return tuple(
            _Field(name, name, converter_for(hint), name in required) for name, hint in _hints_of(self._kind).items()
        )


class _NamedTuple:
    """A named tuple, which travels as a list or a tuple of its values."""

    exact: type | None = None

    def __init__(self, kind: Any) -> None:
        self._kind = kind
        self.expected = kind.__name__

    def is_natural(self, value: Any) -> bool:
        return isinstance(value, self._kind)

    def fit(self, value: Any, is_json: bool) -> Any:
        if isinstance(value, self._kind):
            return value
        if type(value) not in (list, tuple):
            raise _mismatch(self.expected, value)
        if len(value) > len(self._fields):
            raise Misfit(f"Expected a `{self.expected}` of length {len(self._fields)}, got {len(value)}")
        given = {field.key: item for field, item in zip(self._fields, value, strict=False)}
        return _made(self._kind, **_fitted(self._fields, given, is_json))

    @functools.cached_property
    def _fields(self) -> tuple[_Field, ...]:
        hints, defaults = _hints_of(self._kind), self._kind._field_defaults
        return tuple(
            _Field(name, name, converter_for(hints.get(name, Any)), name not in defaults) for name in self._kind._fields
        )


def _hints_of(kind: Any) -> dict[str, Any]:
    try:
        return typing.get_type_hints(kind, include_extras=True)
    except Exception:  # a name is only there for the type checker
        return {}


def _each(items: Any, converter: Converter, is_json: bool, place: str | None = None) -> Any:
    """Return `items` converted: the very object where none of them has changed, else a list."""
    if {converter.exact}.issuperset(map(type, items)):
        return items
    converted = [
        _at(f"[{index}]" if place is None else place, converter, item, is_json) for index, item in enumerate(items)
    ]
    return items if _are_same(converted, items) else converted


def _at(place: str, converter: Converter, value: Any, is_json: bool) -> Any:
    try:
        return converter.fit(value, is_json)
    except Misfit as misfit:
        misfit.steps.append(place)
        raise


def _are_same(ones: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(one is other for one, other in zip(ones, others, strict=True))


def _made(make: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    try:
        return make(*args, **kwargs)
    except Exception as exc:  # a constructor of the user's may check its values, and raise whatever it likes
        raise Misfit(str(exc) or type(exc).__name__) from exc


def _by_msgspec(value: Any, annotation: Any, *, is_json: bool) -> Any:
    try:
        return msgspec.convert(value, annotation, builtin_types=() if is_json else _TRAVELLING)
    except msgspec.ValidationError as exc:
        reason, _, place = str(exc).partition(" - at `$")
        raise Misfit(reason, place.removesuffix("`")) from exc
    except Exception as exc:  # an enum's own `_missing_`
        raise Misfit(str(exc) or type(exc).__name__) from exc


def _mismatch(expected: str, value: Any) -> Misfit:
    got = "None" if value is None else type(value).__name__
    return _WrongType(f"Expected `{expected}`, got `{got}`")


_PLAIN: Final = frozenset({bool, int, str, bytes, datetime.datetime, uuid.UUID})
_FROM_TEXT: Final = frozenset({bytes, datetime.datetime, uuid.UUID})
_TRAVELLING: Final = (bytes, bytearray, datetime.datetime, uuid.UUID)
_MAKE: Final[dict[Any, Callable[[list[Any]], Any]]] = {
    list: list,
    tuple: tuple,
    set: lambda items: _made(set_of, list(items)),
    frozenset: lambda items: _made(frozenset_of, list(items)),
}
_ARRAYS: Final[dict[Any, tuple[type, ...]]] = {
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
_MAPPINGS: Final = frozenset({dict, collections.abc.Mapping, collections.abc.MutableMapping})
