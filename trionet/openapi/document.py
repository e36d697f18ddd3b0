"""The OpenAPI document of a node.

Invariants: it has at most `MOST_METHODS` methods; no function, annotation, default value or docstring of the user's
raises, or makes it invalid.

Source: OpenAPI Specification 3.1.
"""

from __future__ import annotations

import inspect
import json
import math
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from trionet.arguments import Signature, signature_of
from trionet.message import LOCAL
from trionet.user_code import attempt

from .fixed_parts import PAGES, RESPONSES, SCHEMAS, SECURITY_SCHEMES, error_responses
from .schemas import Schema, Schemas

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.arguments import Method

__all__ = ["MOST_METHODS", "document"]

MOST_METHODS: Final = 2000

_JSON: Final = "application/json"
_LINES: Final = "application/x-ndjson"
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_ABOUT: Final = (
    "Each method of each service is called by PUT, or POST, with a JSON list of its positional arguments. Arguments by "
    "name are query parameters, each in JSON or else a text; those before a * may also be in the list. Values that "
    "JSON does not have are objects with a key that begins with $."
)
_TRUNCATED: Final = f" The node has more than {MOST_METHODS} methods: the others are not listed."


def document(methods: Sequence[tuple[str, str, str, Method]], security: Sequence[str]) -> bytes:
    """Return the document of a node, in JSON.

    Args:
        methods: its methods, each with its gid, service and name.
        security: the names of the schemes by any of which a client proves itself.
    """
    components = dict(SCHEMAS)
    schemas, names = Schemas(components), _Names()
    paths = dict(PAGES)
    for gid, service, name, method in sorted(methods, key=lambda found: (found[0] != LOCAL, found[:3]))[:MOST_METHODS]:
        paths[f"/{gid}/{service}/{name}"] = _path_item(gid, service, name, method, schemas, names)
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {
            "title": "trionet node",
            "version": attempt(version, "trionet", default="unknown"),  # it may not be installed
            "description": _ABOUT + (_TRUNCATED if len(methods) > MOST_METHODS else ""),
        },
        "servers": [{"url": "/"}],
        "paths": paths,
        "components": {
            "schemas": {name: _safe(schema) for name, schema in components.items()},
            "responses": RESPONSES,
            "securitySchemes": {name: SECURITY_SCHEMES[name] for name in security},
        },
    }
    if security:
        made["security"] = [{name: []} for name in security]
    return json.dumps(made, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")


class _Names:
    """The ids of operations, each once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def new(self, *parts: str) -> str:
        base = name = "_".join("".join(c if c.isalnum() else "_" for c in part) for part in parts)
        number = 1
        while name in self._given:
            number += 1
            name = f"{base}_{number}"
        self._given.add(name)
        return name


def _path_item(gid: str, service: str, name: str, method: Method, schemas: Schemas, names: _Names) -> dict[str, Any]:
    signature = signature_of(method)
    operation: dict[str, Any] = {"tags": [f"{gid}/{service}"], **_texts(signature.doc)}
    operation["requestBody"] = {
        "required": True,
        "description": "The positional arguments.",
        "content": {_JSON: {"schema": _safe(_arguments(signature, schemas))}},
    }
    by_name = _named(signature, schemas)
    if by_name:
        operation["parameters"] = by_name
    operation["responses"] = {"200": _answer(method, signature, schemas), **error_responses()}
    return {
        verb: {"operationId": names.new(*((gid, service, name) if verb == "put" else (verb, gid, service, name)))}
        | operation
        for verb in ("put", "post")
    }


def _texts(doc: str) -> dict[str, str]:
    summary, _, rest = doc.partition("\n\n")
    found = {"summary": " ".join(summary.split()), "description": rest.strip()}
    return {name: text for name, text in found.items() if text}


def _arguments(signature: Signature, schemas: Schemas) -> Schema:
    """Return the schema of the list of positional arguments."""
    parameters = signature.parameters
    if parameters is None:
        return {"type": "array"}
    places = [parameter for parameter in parameters if parameter.kind in _POSITIONAL]
    found: Schema = {"type": "array"}
    if places:
        found["prefixItems"] = [
            _with_default(parameter, schemas.written(signature.annotations.get(parameter.name, Any)))
            for parameter in places
        ]
    found["minItems"] = sum(parameter.default is parameter.empty for parameter in places)
    rest = next((parameter for parameter in parameters if parameter.kind is parameter.VAR_POSITIONAL), None)
    if rest is None:
        found["maxItems"] = len(places)
    else:
        found["items"] = schemas.written(signature.annotations.get(rest.name, Any))
    return found


def _with_default(parameter: inspect.Parameter, schema: Schema) -> Schema:
    """Return the schema of a parameter, with its name, and its default if that is plain JSON."""
    found = {"title": parameter.name, **schema}
    default = parameter.default
    is_plain = (
        default is None or type(default) in (bool, int, str) or (type(default) is float and math.isfinite(default))
    )
    return found | ({"default": default} if is_plain else {})


def _named(signature: Signature, schemas: Schemas) -> list[dict[str, Any]]:
    """Return the parameters that are given by name alone."""
    return [
        {
            "name": parameter.name,
            "in": "query",
            "required": parameter.default is parameter.empty,
            "content": {
                _JSON: {
                    "schema": _safe(
                        _with_default(parameter, schemas.written(signature.annotations.get(parameter.name, Any)))
                    )
                }
            },
        }
        for parameter in signature.parameters or ()
        if parameter.kind is parameter.KEYWORD_ONLY
    ]


def _answer(method: Method, signature: Signature, schemas: Schemas) -> dict[str, Any]:
    if method.is_stream:
        text = 'Lines of JSON: {"item": ...} as the method yields, and at last {"end": true} or {"error": ...}.'
        return {"description": text, "content": {_LINES: {"schema": {}}}}
    value = {
        "type": "object",
        "properties": {
            "value": schemas.read(signature.annotations.get("return", Any)),
            "values": {"type": "object", "description": "The values of the members of a group, by SID."},
            "errors": {"type": "object", "description": "The errors of the members of a group, by SID."},
        },
    }
    return {"description": "The value.", "content": {_JSON: {"schema": _safe(value)}}}


def _safe(schema: Schema) -> Schema:
    """Return `schema` if it can be written in JSON: an annotation may have anything in it."""
    return attempt(lambda: json.loads(json.dumps(schema, allow_nan=False)), default=dict[str, Any]())
