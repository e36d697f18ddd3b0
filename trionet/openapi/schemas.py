"""JSON schemas of annotations: what a client may write for a parameter, and what it reads of a value.

They follow `trionet.conversion` and `trionet.codec`. Invariants: an annotation that can't be described is the schema of
anything, ``{}``, and no annotation raises. What fits the schema of a parameter has the right types; a constructor of
the user's may refuse it all the same.

Source: JSON Schema, 2020-12.
"""

from __future__ import annotations

import collections.abc
import dataclasses
import datetime
import enum
import re
import types
import typing
import uuid
from typing import Any, Final

import msgspec

from trionet.conversion import converter_for
from trionet.identity import NodeAddress
from trionet.user_code import attempt

__all__ = ["Schema", "Schemas"]

Schema = dict[str, Any]

_BASE64: Final = "^(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?$"
_PLAIN: Final[dict[Any, Schema]] = {
    None: {"type": "null"},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    bytes: {"type": "string", "contentEncoding": "base64", "pattern": _BASE64},
    datetime.datetime: {"type": "string", "format": "date-time"},
    uuid.UUID: {"type": "string", "format": "uuid"},
}
_ARRAYS: Final = (
    list,
    set,
    frozenset,
    collections.abc.MutableSequence,
    collections.abc.Sequence,
    collections.abc.MutableSet,
    collections.abc.Set,
    collections.abc.Collection,
)
_MAPPINGS: Final = (dict, collections.abc.Mapping, collections.abc.MutableMapping)

_READ: Final[dict[Any, Schema]] = {
    None: {"type": "null"},
    type(None): {"type": "null"},
    bool: {"type": "boolean"},
    int: {"anyOf": [{"type": "integer"}, {"$ref": "#/components/schemas/LargeInteger"}]},
    float: {"anyOf": [{"type": "number"}, {"$ref": "#/components/schemas/SpecialFloat"}]},
    str: {"type": "string"},
    bytes: {"$ref": "#/components/schemas/Bytes"},
    NodeAddress: {"$ref": "#/components/schemas/Address"},
}
_MOST_DEPTH: Final = 20


class Schemas:
    """Makes the schemas of one document.

    Attributes:
        components: the schemas of types with names.
    """

    def __init__(self, components: dict[str, Schema]) -> None:
        self.components = components
        self._names: dict[Any, str] = {}

    def written(self, annotation: Any) -> Schema:
        """Return the schema of what a client may write for a parameter."""
        return attempt(self._written, annotation, 0, default=_anything())

    def read(self, annotation: Any) -> Schema:
        """Return the schema of a value that a client reads: nothing holds a method to its annotation."""
        return attempt(self._read, annotation, default=_anything())

    def _read(self, annotation: Any) -> Schema:
        if annotation in _READ:
            return dict(_READ[annotation])
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is list and args:
            return {"type": "array", "items": self._read(args[0])}
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self._read(arg) for arg in args]}
        return _anything()

    def _written(self, annotation: Any, depth: int) -> Schema:
        if depth > _MOST_DEPTH or converter_for(annotation) is None:
            return _anything()
        if annotation in _PLAIN:
            return dict(_PLAIN[annotation])
        origin, args = typing.get_origin(annotation), typing.get_args(annotation)
        if origin is None and (meant := _meant(annotation)) is not annotation:
            return self._written(meant, depth + 1)
        if origin is typing.Annotated:
            return self._constrained(annotation, args[0], depth)
        if origin in (typing.Required, typing.NotRequired):
            return self._written(args[0], depth + 1)
        if origin in (typing.Union, types.UnionType):
            return {"anyOf": [self._written(arg, depth + 1) for arg in args]}
        return self._of_class(annotation, origin or annotation, args, depth + 1)

    def _of_class(self, annotation: Any, kind: Any, args: tuple[Any, ...], depth: int) -> Schema:
        if kind is tuple and args and args[-1] is not ...:
            return _places([self._written(arg, depth) for arg in args], len(args))
        if kind in _ARRAYS or kind is tuple:
            return {"type": "array", "items": self._written(args[0], depth)} if args else {"type": "array"}
        if kind in _MAPPINGS:
            return self._mapping(args, depth)
        if not isinstance(kind, type) or not _has_fields(kind):
            return _by_msgspec(annotation)
        return self._record(annotation, kind, depth)

    def _mapping(self, args: tuple[Any, ...], depth: int) -> Schema:
        if not args:
            return {"type": "object"}
        if converter_for(args[0]) is not None and args[0] is not str:
            return _anything()  # keys that are no texts are written with "$map"
        return {"type": "object", "additionalProperties": self._written(args[1], depth)}

    def _constrained(self, annotation: Any, inner: Any, depth: int) -> Schema:
        found = self._written(inner, depth + 1)
        outside = typing.get_origin(inner) or inner
        for constraint in annotation.__metadata__:
            if isinstance(constraint, msgspec.Meta):
                outside = typing.Annotated[outside, constraint]
        return {**_by_msgspec(outside), **found} if "$ref" not in found else found

    # ---- types with fields

    def _record(self, annotation: Any, kind: type, depth: int) -> Schema:
        if issubclass(kind, tuple):
            hints: dict[str, Any] = attempt(lambda: typing.get_type_hints(kind), default=dict[str, Any]())
            names, defaults = kind._fields, kind._field_defaults  # type: ignore[attr-defined]  # a named tuple
            items = [self._written(hints.get(name, Any), depth) for name in names]
            return _places(items, len(names) - len(defaults))
        name = self._names.get(annotation)
        if name is None:
            name = self._names[annotation] = self._new_name(kind)
            self.components[name] = {}  # it may contain itself
            self.components[name] = self._object(annotation, kind, depth)
        return {"$ref": f"#/components/schemas/{name}"}

    def _new_name(self, kind: type) -> str:
        base = re.sub(r"[^A-Za-z0-9._-]", "_", kind.__name__)
        name, number = base, 1
        while name in self.components:
            number += 1
            name = f"{base}_{number}"
        return name

    def _object(self, annotation: Any, kind: type, depth: int) -> Schema:
        fields = _fields_of(annotation, kind)
        found: Schema = {
            "type": "object",
            "title": kind.__name__,
            "properties": {key: self._written(hint, depth) for key, hint, _ in fields},
        }
        required = [key for key, _, is_required in fields if is_required]
        if required:
            found["required"] = required
        config = getattr(kind, "__struct_config__", None)
        if getattr(config, "tag_field", None) is not None:
            assert config is not None
            found["properties"][config.tag_field] = {"const": config.tag}
        if getattr(config, "forbid_unknown_fields", False):
            found["additionalProperties"] = False
        if getattr(config, "array_like", False):
            return _anything()
        return found


def _anything() -> Schema:
    return {}


def _places(items: list[Schema], needed: int) -> Schema:
    return {"type": "array", "prefixItems": items, "minItems": needed, "maxItems": len(items)}


def _has_fields(kind: type) -> bool:
    is_record = issubclass(kind, msgspec.Struct) or dataclasses.is_dataclass(kind) or typing.is_typeddict(kind)
    return is_record or (issubclass(kind, tuple) and hasattr(kind, "_fields"))


def _fields_of(annotation: Any, kind: type) -> list[tuple[str, Any, bool]]:
    """Return the key, the type, and whether it is required, of each field of a record."""
    if issubclass(kind, msgspec.Struct):
        return [(field.encode_name, field.type, field.required) for field in msgspec.structs.fields(annotation)]
    hints = attempt(lambda: typing.get_type_hints(kind, include_extras=True), default=dict[str, Any]())
    if typing.is_typeddict(kind):
        required: frozenset[str] = kind.__required_keys__  # type: ignore[attr-defined]  # it is one
        return [(name, hint, name in required) for name, hint in hints.items()]
    missing = dataclasses.MISSING
    return [
        (field.name, hints.get(field.name, Any), field.default is missing and field.default_factory is missing)
        for field in dataclasses.fields(kind)  # type: ignore[arg-type]  # it is one
        if field.init
    ]


def _by_msgspec(annotation: Any) -> Schema:
    """Return the schema that msgspec has for a type without fields: an enum, a choice, a date."""
    if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
        values = [member.value for member in annotation]
        return {"enum": values} if all(isinstance(value, str | int) for value in values) else _anything()
    found: Schema = attempt(msgspec.json.schema, annotation, default=_anything())
    return _anything() if "$ref" in found or "$defs" in found else found


def _meant(annotation: Any) -> Any:
    """Return the type behind a new type, a ``type X = ...``, or a type variable; else `annotation` itself."""
    if isinstance(annotation, typing.NewType):
        return annotation.__supertype__
    if isinstance(annotation, typing.TypeVar):
        if annotation.__constraints__:
            return typing.Union[annotation.__constraints__]  # noqa: UP007  there is no operator for a tuple of them
        return Any if annotation.__bound__ is None else annotation.__bound__
    return annotation if isinstance(annotation, type) else getattr(annotation, "__value__", annotation)
