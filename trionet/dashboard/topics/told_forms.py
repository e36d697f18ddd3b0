"""The forms of methods that another node tells, as far as they are what a correct node tells."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from .asking import cut

__all__ = ["services_told"]

_MOST_METHODS: Final = 1000

_Word = Annotated[str, msgspec.Meta(max_length=40)]
_Text = Annotated[str, msgspec.Meta(max_length=400)]


class _Parameter(msgspec.Struct, omit_defaults=True):
    name: _Text
    kind: Literal["positional", "either", "rest", "keyword", "named"]
    type: _Word
    annotation: _Text | msgspec.UnsetType = msgspec.UNSET
    is_optional: bool = False
    choices: Annotated[list[_Text | int], msgspec.Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET
    default: _Text | msgspec.UnsetType = msgspec.UNSET
    shown_default: _Text | msgspec.UnsetType = msgspec.UNSET


class _Form(msgspec.Struct):
    signature: _Text
    is_read: bool
    is_stream: bool
    origin: _Word
    scope: Literal["read", "call", "admin", "none"]
    doc: _Text | msgspec.UnsetType = msgspec.UNSET
    parameters: Annotated[list[_Parameter], msgspec.Meta(max_length=64)] | msgspec.UnsetType = msgspec.UNSET


def services_told(answer: object) -> dict[str, dict[str, Any]]:
    """Return the methods that a node tells, by service and name, bounded; what has another form is left out."""
    found: dict[str, dict[str, Any]] = {}
    left = _MOST_METHODS
    for service, methods in answer.items() if isinstance(answer, dict) else ():
        if not isinstance(methods, dict) or left <= 0:
            continue
        few = list(methods.items())[:left]
        left -= len(few)
        forms = {cut(name): form for name, told in few if (form := _form(told)) is not None}
        found[cut(service)] = forms
    return found


def _form(told: object) -> dict[str, Any] | None:
    try:
        form: dict[str, Any] = msgspec.to_builtins(msgspec.convert(told, _Form))
    except (msgspec.ValidationError, OverflowError):
        return None
    return form
