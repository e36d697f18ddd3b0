"""Types with named fields: Structs, dataclasses, typed dicts, named tuples."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from trionet.identity import NodeAddress
from trionet.registered import name_of_type
from trionet.user_code import attempt

from .base import Converter, Misfit, at, made, mismatch

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

__all__ = ["NamedTupleConverter", "RecordConverter", "Resolve", "TypedDictConverter"]

Resolve = Callable[[Any], Converter | None]
"""Returns the converter to the type of a field."""


class _FieldsConverter(Converter):
    """A type with named fields; the base of those below."""

    lowers: bool = True

    def __init__(self, annotation: Any, kind: Any, resolve: Resolve) -> None:
        self._resolve = resolve
        self._annotation = annotation
        self._kind = kind
        super().__init__(kind.__name__)

    def is_natural(self, value: Any) -> bool:
        """See `Converter.is_natural`."""
        return isinstance(value, self._kind)


class RecordConverter(_FieldsConverter):
    """A Struct or a dataclass: an instance, of a subclass as well, or a dict with its fields."""

    def __init__(self, annotation: Any, kind: type, resolve: Resolve) -> None:
        super().__init__(annotation, kind, resolve)
        self.exact: type | None = kind
        config = getattr(kind, "__struct_config__", None)  # a dataclass has none
        self._is_array: bool = getattr(config, "array_like", False)
        self._is_closed: bool = getattr(config, "forbid_unknown_fields", False)
        self._tag_field: str | None = getattr(config, "tag_field", None)
        self._tag: Any = getattr(config, "tag", None)

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        if isinstance(value, self._kind):
            return value
        if self._is_array and is_json and type(value) is list:
            value = dict(zip(self._places, value, strict=False))
        elif type(value) is not dict:
            raise mismatch(self.expected, value)
        return made(self._kind, **self._fields_of(value, is_json))

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`: the fields, unless the type travels; a subclass would lose its own."""
        kind = self._kind
        if type(value) is not kind or kind is NodeAddress or name_of_type(kind) is not None:
            return value
        lowered = {field.key: field.lowered(getattr(value, field.name)) for field in self._fields}
        return {self._tag_field: self._tag, **lowered} if self.is_tagged else lowered

    @property
    def is_tagged(self) -> bool:
        """Whether a dict names its type by a tag."""
        return self._tag_field is not None

    def is_told_by(self, value: Any) -> bool:
        """Return whether `value` is a dict with the tag of this type."""
        return self.is_tagged and type(value) is dict and value.get(self._tag_field) == self._tag

    @functools.cached_property
    def _fields(self) -> tuple[_Field, ...]:
        """The fields; made on first use, because a type may contain itself."""
        if issubclass(self._kind, msgspec.Struct):
            return tuple(
                _Field(field.name, field.encode_name, self._resolve(field.type), field.required)
                for field in msgspec.structs.fields(self._annotation)
            )
        from dataclasses import MISSING, fields  # it is imported already, where there is one

        hints = _hints_of(self._annotation)
        return tuple(
            _Field(
                field.name,
                field.name,
                self._resolve(hints.get(field.name, Any)),
                field.default is MISSING and field.default_factory is MISSING,
            )
            for field in fields(self._kind)
            if field.init
        )

    @property
    def _places(self) -> list[str]:
        names = [field.key for field in self._fields]
        return names if self._tag_field is None else [self._tag_field, *names]

    def _fields_of(self, value: dict[Any, Any], is_json: bool) -> dict[str, Any]:
        if self.is_tagged and value.get(self._tag_field, self._tag) != self._tag:
            raise Misfit(f"Invalid value {value[self._tag_field]!r:.40}", f".{self._tag_field}")
        if self._is_closed:
            known = {field.key for field in self._fields} | {self._tag_field}
            for name in value:
                if name not in known:
                    raise Misfit(f"Object contains unknown field `{name!s:.40}`")
        return _fitted(self._fields, value, is_json)


class _Field(msgspec.Struct, frozen=True):
    """A field of a record.

    Attributes:
        name: its name for the constructor.
        key: its name in a dict.
        converter: to its type.
        is_required: whether it has no default.
    """

    name: str
    key: str
    converter: Any
    is_required: bool

    def lowered(self, value: Any) -> Any:
        """Return the value of the field in the form that travels."""
        return value if self.converter is None else self.converter.lower(value)


def _fitted(fields: Iterable[_Field], value: Mapping[Any, Any], is_json: bool) -> dict[str, Any]:
    """Return the fields that `value` has, by name."""
    found = {}
    for field in fields:
        if field.key in value:
            item = value[field.key]
            found[field.name] = item if field.converter is None else at(f".{field.key}", field.converter, item, is_json)
        elif field.is_required:
            raise Misfit(f"Object missing required field `{field.key}`")
    return found


class TypedDictConverter(_FieldsConverter):
    """A dict with a type for each of its keys."""

    def is_natural(self, value: Any) -> bool:
        """See `Converter.is_natural`."""
        return type(value) is dict

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        if type(value) is not dict:
            raise mismatch(self.expected, value)
        found = _fitted(self._fields, value, is_json)
        return value if all(value[name] is item for name, item in found.items()) else value | found

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`."""
        if type(value) is not dict:
            return value
        lowered = {one.key: one.lowered(value[one.key]) for one in self._fields if one.key in value}
        return value if all(value[key] is item for key, item in lowered.items()) else value | lowered

    @functools.cached_property
    def _fields(self) -> tuple[_Field, ...]:
        required = self._kind.__required_keys__
        return tuple(
            _Field(name, name, self._resolve(hint), name in required)
            for name, hint in _hints_of(self._annotation).items()
        )


class NamedTupleConverter(_FieldsConverter):
    """A named tuple, which travels as a list or a tuple of its values."""

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        if isinstance(value, self._kind):
            return value
        if type(value) not in (list, tuple):
            raise mismatch(self.expected, value)
        if len(value) > len(self._fields):
            raise Misfit(f"Expected a `{self.expected}` of length {len(self._fields)}, got {len(value)}")
        given = {field.key: item for field, item in zip(self._fields, value, strict=False)}
        return made(self._kind, **_fitted(self._fields, given, is_json))

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`."""
        if type(value) is not self._kind:
            return value
        return [field.lowered(item) for field, item in zip(self._fields, value, strict=True)]

    @functools.cached_property
    def _fields(self) -> tuple[_Field, ...]:
        hints, defaults = _hints_of(self._annotation), self._kind._field_defaults
        return tuple(
            _Field(name, name, self._resolve(hints.get(name, Any)), name not in defaults) for name in self._kind._fields
        )


def _hints_of(annotation: Any) -> dict[str, Any]:
    """Return the type of each field, its type variables replaced by those of the annotation and of each base."""
    kind = typing.get_origin(annotation) or annotation
    hints = attempt(lambda: typing.get_type_hints(kind, include_extras=True), default=None)
    if hints is None:  # a name is only there for the type checker
        return {}
    # A typed dict has the annotations of its bases as its own.
    own = () if typing.is_typeddict(kind) else inspect.get_annotations(kind)
    for base in kind.__dict__.get("__orig_bases__", kind.__bases__):
        if isinstance(typing.get_origin(base) or base, type):
            hints |= {name: hint for name, hint in _hints_of(base).items() if name not in own}
    given = dict(zip(getattr(kind, "__parameters__", ()), typing.get_args(annotation), strict=False))
    return {name: _filled(hint, given) for name, hint in hints.items()}


def _filled(hint: Any, given: Mapping[Any, Any]) -> Any:
    """Return `hint` with its type variables replaced."""
    if isinstance(hint, typing.TypeVar):
        return given.get(hint, hint)
    variables = getattr(hint, "__parameters__", ())
    if typing.get_origin(hint) is None or given.keys().isdisjoint(variables):
        return hint
    return hint[tuple(given.get(variable, variable) for variable in variables)]
