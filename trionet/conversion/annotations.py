"""The converter of an annotation."""

from __future__ import annotations

import enum
import functools
import types
import typing
from typing import TYPE_CHECKING, Any, NotRequired, Required

import msgspec

from trionet.registered import is_dataclass
from trionet.user_code import attempt

from .base import Converter, Misfit, WrongType, mismatch
from .containers import ARRAYS, MAPPINGS, ArrayConverter, DictConverter, FixedTupleConverter
from .records import NamedTupleConverter, RecordConverter, TypedDictConverter
from .scalars import PLAIN, ConstrainedConverter, EnumConverter, FloatConverter, LeafConverter, PlainConverter

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["UnionConverter", "converter_for"]


def converter_for(annotation: Any) -> Converter | None:
    """Return the converter to `annotation`; None if nothing of it can be checked, so that any value fits."""
    try:
        return _compiled(annotation, _spelling(annotation))
    except TypeError:  # it can't be hashed, or is no type
        return None


def _spelling(annotation: Any) -> tuple[Any, ...]:
    """Return the parts of `annotation` in order: equal unions may have different orders, and the first fit wins."""
    if isinstance(annotation, list):  # of a callable's parameters
        return tuple(map(_spelling, annotation))
    args = typing.get_args(annotation)
    return (typing.get_origin(annotation), *map(_spelling, args)) if args else (annotation,)


@functools.lru_cache(maxsize=4096)
def _compiled(annotation: Any, _: tuple[Any, ...]) -> Converter | None:
    if annotation is None or annotation in PLAIN:
        return PlainConverter(annotation or type(None))
    if annotation is float:
        return FloatConverter()
    origin = typing.get_origin(annotation)
    if origin is None and (meant := _meant(annotation)) is not annotation:
        return converter_for(meant)
    if origin is typing.Annotated:
        return _constrained(annotation)
    if origin in (Required, NotRequired):
        return converter_for(typing.get_args(annotation)[0])
    if origin is typing.Union or origin is types.UnionType:
        return _union(tuple(map(converter_for, typing.get_args(annotation))))
    return _of_class(annotation, origin or annotation, typing.get_args(annotation))


def _meant(annotation: Any) -> Any:
    """Return the type behind a new type, a ``type X = ...``, or a type variable; else `annotation` itself."""
    if isinstance(annotation, typing.NewType):
        return annotation.__supertype__
    if isinstance(annotation, typing.TypeVar):
        if annotation.__constraints__:
            return typing.Union[annotation.__constraints__]  # noqa: UP007  there is no operator for a tuple of them
        return Any if annotation.__bound__ is None else annotation.__bound__
    return annotation if isinstance(annotation, type) else getattr(annotation, "__value__", annotation)


def _of_class(annotation: Any, kind: Any, args: tuple[Any, ...]) -> Converter | None:
    if kind is tuple and args and args[-1] is not ...:
        return FixedTupleConverter(tuple(map(converter_for, args)))
    if kind is tuple:
        args = args[:1]
    if kind in ARRAYS:
        return ArrayConverter(kind, converter_for(args[0]) if args else None)
    if kind in MAPPINGS:
        return DictConverter(*(map(converter_for, args) if args else (None, None)))
    is_askable = not getattr(kind, "_is_protocol", False) or getattr(kind, "_is_runtime_protocol", False)
    if kind is object or not is_askable or not (isinstance(kind, type) or _is_known(annotation)):
        return None
    return _of_record(annotation, kind) if isinstance(kind, type) else LeafConverter(annotation)


def _of_record(annotation: Any, kind: type) -> Converter | None:
    if issubclass(kind, msgspec.Struct) or is_dataclass(kind):
        return RecordConverter(annotation, kind, converter_for) if _is_known(annotation) else None
    if typing.is_typeddict(kind):
        return TypedDictConverter(annotation, kind, converter_for)
    if issubclass(kind, tuple) and hasattr(kind, "_fields"):
        return NamedTupleConverter(annotation, kind, converter_for)
    if issubclass(kind, enum.Enum) and not _is_known(annotation):
        return EnumConverter(kind)
    return LeafConverter(annotation) if _is_known(annotation) else None


def _is_known(annotation: Any) -> bool:
    """Return whether msgspec supports it."""
    # It looks into classes of the user's.
    return annotation is not Any and attempt(msgspec.json.Decoder, annotation, default=None) is not None


def _constrained(annotation: Any) -> Converter | None:
    kind, *metadata = typing.get_args(annotation)
    inner = converter_for(kind)
    bare = typing.get_origin(kind) or kind
    constraints = [one for one in metadata if isinstance(one, msgspec.Meta)]
    if inner is None or not constraints:
        return inner
    # Only the outer type: the inner converter has converted the items before.
    outside = bare
    for constraint in constraints:
        outside = typing.Annotated[outside, constraint]
    return ConstrainedConverter(inner, outside) if _is_known(outside) else inner


class UnionConverter(Converter):
    """One of several types: the type of the value itself, else the first that it can be converted to."""

    def __init__(self, options: tuple[Converter, ...]) -> None:
        super().__init__(" | ".join(option.expected for option in options))
        self.lowers: bool = any(option.lowers for option in options)
        self._options = options

    def is_natural(self, value: Any) -> bool:
        """See `Converter.is_natural`."""
        return any(option.is_natural(value) for option in self._options)

    def fit(self, value: Any, is_json: bool) -> Any:
        """See `Converter.fit`."""
        natural = [option for option in self._options if option.is_natural(value)]
        failure: Misfit = mismatch(self.expected, value)
        for option in natural or self._made_of(value):
            try:
                return option.fit(value, is_json)
            except Misfit as misfit:
                if natural or not isinstance(misfit, WrongType) or any(misfit.steps):
                    failure = misfit  # it is more specific
        raise failure

    def lower(self, value: Any) -> Any:
        """See `Converter.lower`: only where it comes back as a value of the same type."""
        for option in self._options:
            lowered = option.lower(value) if option.lowers else value
            if lowered is not value:
                back = attempt(self.fit, lowered, False, default=None)
                return lowered if type(back) is type(value) else value
        return value

    def _made_of(self, value: Any) -> Sequence[Converter]:
        """Return the types to which `value` may be converted; of several records, the tag of a dict selects one."""
        if type(value) is not dict or sum(isinstance(option, RecordConverter) for option in self._options) < 2:  # noqa: PLR2004
            return self._options
        tagged = [one for one in self._options if isinstance(one, RecordConverter) and one.is_tagged]
        return [one for one in tagged if one.is_told_by(value)] or [one for one in self._options if one not in tagged]


def _union(options: tuple[Converter | None, ...]) -> Converter | None:
    known = tuple(option for option in options if option is not None)
    untagged = sum(
        isinstance(option, TypedDictConverter) or (type(option) is RecordConverter and not option.is_tagged)
        for option in known
    )
    # A dict could be any of several records; trying them all would take time that is exponential in the depth.
    return None if len(known) < len(options) or untagged > 1 else UnionConverter(known)
