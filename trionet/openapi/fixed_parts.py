"""The parts of an OpenAPI document that are the same for all nodes: errors, answers, security, and the pages."""

from __future__ import annotations

from typing import Any, Final

__all__ = ["PAGES", "RESPONSES", "SCHEMAS", "SECURITY_SCHEMES", "error_responses"]

_JSON: Final = "application/json"

_TEXTS: Final = {
    400: "The body is no JSON list, or the arguments don't fit the method's signature.",
    401: "The node has a key, and the request no valid token.",
    403: "The request comes from a foreign web page, or its maker may not make this call.",
    404: "There is no such group, service, method or key.",
    405: "The path has other methods.",
    408: "The body took too long to arrive.",
    409: "The group is empty, or a service refuses a change.",
    412: "A service expected another value.",
    413: "The request, or a setting, is too large.",
    500: "The handler raised.",
    501: "What the request needs is not installed.",
    502: "The method called another node, and could not reach it or lost it.",
    503: "The node is stopping, or receives more than it can hold.",
    504: "The time given by Trionet-Timeout is over.",
}

RESPONSES: Final[dict[str, Any]] = {
    str(status): {
        "description": text,
        "content": {_JSON: {"schema": {"$ref": "#/components/schemas/Error"}}},
    }
    for status, text in _TEXTS.items()
}
"""The answers of failures, by status, which is also their name among the components."""

_OF_PAGES: Final = (400, 401, 403, 405, 408, 413, 503)


def error_responses(statuses: tuple[int, ...] = tuple(_TEXTS)) -> dict[str, Any]:
    """Return the references to the answers of failures with these statuses."""
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in statuses}


def _tagged(name: str, value: dict[str, Any], description: str) -> dict[str, Any]:
    return {
        "type": "object",
        "description": description,
        "properties": {name: value},
        "required": [name],
        "additionalProperties": False,
    }


SCHEMAS: Final[dict[str, Any]] = {
    "Error": {
        "type": "object",
        "properties": {
            "error": {
                "type": "object",
                "properties": {
                    "code": {"type": "integer"},
                    "name": {"type": "string", "description": "The name of the error, as MalformedRequest."},
                    "text": {"type": "string"},
                },
                "required": ["code", "name", "text"],
            }
        },
        "required": ["error"],
    },
    "Health": {"type": "object", "properties": {"status": {"type": "string"}}, "required": ["status"]},
    "LargeInteger": _tagged("$int", {"type": "string"}, "An integer of more than 64 bits, hexadecimal."),
    "SpecialFloat": _tagged("$float", {"enum": ["nan", "inf", "-inf"]}, "A number that JSON does not have."),
    "Bytes": _tagged("$bytes", {"type": "string", "contentEncoding": "base64"}, "Bytes."),
    "Address": _tagged(
        "$address",
        {"type": "array", "prefixItems": [{"type": "string"}, {"type": "integer"}], "minItems": 2, "maxItems": 2},
        "The address of a node: its host and port.",
    ),
}

SECURITY_SCHEMES: Final[dict[str, Any]] = {
    "bearer": {
        "type": "http",
        "scheme": "bearer",
        "description": "A token of the cluster: trionet keys token --key-file FILE --scope read|call|admin.",
    },
    "signature": {
        "type": "apiKey",
        "in": "header",
        "name": "Signature-Input",
        "description": "A signature by the key of the cluster (RFC 9421), for nodes.",
    },
    "certificate": {"type": "mutualTLS", "description": "The certificate of a node of the cluster."},
}


def _page(summary: str, content: dict[str, Any], *others: int, is_open: bool = False) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "summary": summary,
        "tags": ["pages"],
        "responses": {"200": {"description": summary, "content": content}, **error_responses((*_OF_PAGES, *others))},
    }
    return {"get": operation | ({"security": []} if is_open else {})}


_HEALTH: Final = {_JSON: {"schema": {"$ref": "#/components/schemas/Health"}}}
_NOT_READY: Final = {"503": {"description": "It has not, or is stopping.", "content": _HEALTH}}
_READY: Final = _page("Whether the node has booted and joined its cluster.", _HEALTH, is_open=True)

PAGES: Final[dict[str, Any]] = {
    "/live": _page("Whether the process answers.", _HEALTH, is_open=True),
    "/healthz": _page("The same as /live.", _HEALTH, is_open=True),
    "/ready": {"get": _READY["get"] | {"responses": _READY["get"]["responses"] | _NOT_READY}},
    "/metrics": _page(
        "The metrics of the node, for Prometheus.",
        {
            "text/plain": {"schema": {"type": "string"}},
            "application/openmetrics-text": {"schema": {"type": "string"}},
        },
        501,
    ),
    "/openapi.json": _page("This document.", {_JSON: {"schema": {"type": "object"}}}),
}
"""The paths that are no calls."""
