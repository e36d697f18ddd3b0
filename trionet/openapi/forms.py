"""What a form needs to know of a method: its parameters, and the kind of input that suits each.

The kinds are those of JSON Schema, as `Schemas.written` finds them, told by one word. What has no word is ``json``: a
person writes it as JSON.

Invariant: no function, annotation, default value or docstring of the user's raises, and each text is cut.
"""

from __future__ import annotations

import inspect
import json
import math
from typing import TYPE_CHECKING, Any, Final

from trionet.arguments import signature_of
from trionet.user_code import attempt, shown

from .schemas import Schemas

if TYPE_CHECKING:
    from trionet.arguments import Method

    from .schemas import Schema

__all__ = ["form_of", "kind_of_input"]

_LONGEST: Final = 300
_MOST_PARAMETERS: Final = 64
_MOST_CHOICES: Final = 64
_KINDS: Final = {
    inspect.Parameter.POSITIONAL_ONLY: "positional",
    inspect.Parameter.POSITIONAL_OR_KEYWORD: "either",
    inspect.Parameter.VAR_POSITIONAL: "rest",
    inspect.Parameter.KEYWORD_ONLY: "keyword",
    inspect.Parameter.VAR_KEYWORD: "named",
}
_WORDS: Final = {"integer": "int", "number": "float", "boolean": "bool", "array": "list", "object": "dict"}
_FORMATS: Final = {"date-time": "datetime", "uuid": "uuid", "date": "str", "time": "str"}


def form_of(method: Method) -> dict[str, Any]:
    """Return what a form needs to know of `method`, as plain data without nulls.

    ``signature`` is for people; ``doc`` the docstring's first paragraph; ``is_read`` and ``is_stream`` as in `Method`;
    ``parameters`` a list of those described in `_parameter`, and missing where the method has no signature.
    """
    said = signature_of(method)
    found: dict[str, Any] = {
        "signature": _cut(method.signature),
        "is_read": method.is_read,
        "is_stream": method.is_stream,
    }
    if summary := " ".join(said.doc.partition("\n\n")[0].split()):
        found["doc"] = _cut(summary)
    if said.parameters is not None:
        schemas = Schemas({})
        found["parameters"] = [
            _parameter(parameter, schemas, said.annotations.get(parameter.name, Any))
            for parameter in said.parameters[:_MOST_PARAMETERS]
        ]
    return found


def _parameter(parameter: inspect.Parameter, schemas: Schemas, annotation: Any) -> dict[str, Any]:
    """Return one parameter.

    ``kind`` is positional, either (by position or by name), rest (``*args``), keyword or named (``**kwargs``); ``type``
    see `kind_of_input`; ``annotation`` the type in words, missing without one; ``is_optional`` whether null is a value;
    ``choices`` the values of an enum or a literal; ``default`` the default as JSON, or ``shown_default`` as a text.
    """
    schema = schemas.written(annotation)
    kind, is_optional, choices = kind_of_input(schema)
    found: dict[str, Any] = {"name": parameter.name, "kind": _KINDS[parameter.kind], "type": kind}
    if parameter.annotation is not parameter.empty:
        found["annotation"] = _words(parameter.annotation)
    if is_optional:
        found["is_optional"] = True
    if choices:
        found["choices"] = choices
    default = parameter.default
    if default is not parameter.empty:
        plain = _json(default)
        found["shown_default" if plain is None else "default"] = shown(default, _LONGEST) if plain is None else plain
    return found


def kind_of_input(schema: Schema) -> tuple[str, bool, list[Any]]:
    """Return the kind of input that suits a schema, whether null is a value, and the choices if these are few.

    The kinds are int, float, bool, str, bytes, datetime, uuid, list, dict, choice and json.
    """
    parts = schema.get("anyOf")
    if isinstance(parts, list):
        others = [part for part in parts if part != {"type": "null"}]
        is_optional = len(others) < len(parts)
        if len(others) == 1:
            kind, _, choices = kind_of_input(others[0])
            return kind, is_optional, choices
        return "json", is_optional, []
    values = schema.get("enum")
    if isinstance(values, list) and 0 < len(values) <= _MOST_CHOICES:
        plain = [one for one in values if isinstance(one, str | int) and len(str(one)) <= _LONGEST]
        if len(plain) == len([one for one in values if one is not None]):
            return "choice", len(plain) < len(values), plain
    name = schema.get("type")
    if name == "string":
        if schema.get("contentEncoding") == "base64":
            return "bytes", False, []
        return _FORMATS.get(str(schema.get("format")), "str"), False, []
    if "$ref" in schema:
        return "dict", False, []
    return _WORDS.get(str(name), "json"), False, []


def _cut(text: str) -> str:
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _words(annotation: Any) -> str:
    text = annotation if isinstance(annotation, str) else attempt(inspect.formatannotation, annotation, default="")
    return _cut(text) if isinstance(text, str) else ""


def _json(default: Any) -> str | None:
    """Return a default as JSON; None if it has no plain and short one."""
    is_plain = default is None or type(default) in (bool, int, str)
    is_plain = is_plain or (type(default) is float and math.isfinite(default))
    is_plain = is_plain or (type(default) in (list, dict, tuple) and not default)
    if not is_plain:
        return None
    text = json.dumps(default, ensure_ascii=False)
    return text if len(text) <= _LONGEST else None
