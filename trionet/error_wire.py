"""Errors that arrive from other nodes.

Invariant: whatever arrives becomes an error of trionet's, or one of a class that is declared here, or a `DecodeError`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .declared_kinds import kind_named
from .errors import DecodeError, IndefiniteError, RemoteError, TrionetError, known_kinds

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["error_from_wire"]

_FIRST_CUSTOM_CODE = 1000

_BY_NAME = known_kinds()
_BY_CODE = {cls.code: cls for cls in _BY_NAME.values() if "code" in vars(cls) and cls.code < _FIRST_CUSTOM_CODE}
"""Maelstrom's codes; of several types with one code, the most specific."""


def error_from_wire(wire: Mapping[str, Any]) -> TrionetError:
    """Return the error that `wire` describes.

    The type is that of ``name``; else that of ``code``, as for errors of Maelstrom nodes in other languages. Unknown
    codes from 1000 up are indefinite (Maelstrom's rule).

    Raises:
        DecodeError: `wire` does not describe an error.
    """
    code, name, text, node = wire.get("code"), wire.get("name"), wire.get("text", ""), wire.get("node")
    if not isinstance(code, int) or not isinstance(text, str) or not isinstance(node, str | None):
        raise DecodeError("an error needs a numeric 'code' and a 'text'")
    named: type[TrionetError] | None = _BY_NAME.get(name) if isinstance(name, str) else None
    kind = named if named is not None else _BY_CODE.get(code, IndefiniteError)
    error = kind(text, **{field: wire.get(field) for field in kind.fields})
    error.node = node
    return _revived(error) if type(error) is RemoteError and error.arguments is not None else error


def _revived(error: RemoteError) -> RemoteError:
    """Return the error of the declared class that `error` describes; `error` itself if this node has none."""
    kind = kind_named(error.type_name)
    revived: RemoteError | None = None if kind is None else kind.revived(error)
    return error if revived is None else revived
