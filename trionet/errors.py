"""The tree of trionet's errors, and their form on the wire.

::

    TrionetError
    ├── DefiniteError               it did not happen
    │   ├── NodeUnreachable             1   no connection could be made, so nothing was sent
    │   │   └── KeyMismatch                 the nodes have different cluster keys, or cluster names
    │   ├── NotFound                   10
    │   │   ├── GroupNotFound               (also a KeyError)
    │   │   ├── ServiceNotFound             (also a KeyError)
    │   │   └── MethodNotFound              (also a KeyError)
    │   ├── TemporarilyUnavailable     11   stopping, or too busy
    │   ├── MalformedRequest           12   (also a ValueError)
    │   │   ├── EncodeError                 a value that cannot travel
    │   │   ├── DecodeError                 bytes that are no value
    │   │   ├── UnknownKey                  ``status.get`` of an unknown key
    │   │   └── ConfigError
    │   ├── Abort                      14
    │   ├── KeyDoesNotExist            20
    │   ├── KeyAlreadyExists           21
    │   ├── PreconditionFailed         22
    │   ├── TxnConflict                30
    │   ├── EmptyGroup               1000
    │   ├── SIDCollision             1001
    │   ├── MessageTooLarge          1002
    │   ├── CodeRefused              1003   a value that would have to travel as code
    │   ├── AddressInUse             1004
    │   ├── SpawnError               1005   the child's own reason
    │   └── NotPermitted             1006   insecure bind, foreign web page
    └── IndefiniteError             it may have happened
        ├── CallTimeout                 0
        ├── RemoteError                13   the handler's own exception
        ├── ConnectionLost           1100   lost after sending
        ├── OrphanedCalls            1101   cancelled, without a confirmed end
        ├── CallCancelled            1102   cancelled at its node, by another than its caller
        └── UnexpectedAnswer         1103   not of the annotated type

The numbers below 1000 are Maelstrom's (its ``doc/protocol.md``, "Errors"); the others are ours: Maelstrom leaves those
from 1000 up to programs. Callers must distinguish the two families: after a `DefiniteError` a retry is safe, after an
`IndefiniteError` only if the method is idempotent.
"""

from __future__ import annotations

import traceback
from typing import Any, ClassVar

from .declared_kinds import declared_kind
from .plain_data import INT_MAX, INT_MIN, PlainData, as_text, printable
from .user_code import attempt, attribute, described

__all__ = [
    "Abort",
    "AddressInUse",
    "CallCancelled",
    "CallTimeout",
    "CodeRefused",
    "ConfigError",
    "ConnectionLost",
    "DecodeError",
    "DefiniteError",
    "EmptyGroup",
    "EncodeError",
    "GroupNotFound",
    "IndefiniteError",
    "KeyAlreadyExists",
    "KeyDoesNotExist",
    "KeyMismatch",
    "MalformedRequest",
    "MessageTooLarge",
    "MethodNotFound",
    "NodeUnreachable",
    "NotFound",
    "NotPermitted",
    "OrphanedCalls",
    "PreconditionFailed",
    "RemoteError",
    "SIDCollision",
    "ServiceNotFound",
    "SpawnError",
    "TemporarilyUnavailable",
    "TrionetError",
    "TxnConflict",
    "UnexpectedAnswer",
    "UnknownKey",
    "error_fields",
    "error_to_wire",
    "known_kind",
    "known_kinds",
]


class TrionetError(Exception):
    """The base of all errors of trionet.

    Attributes:
        code: the number of this error on the wire.
        text: one sentence for a person.
        node: ``"ip:port"`` of the node that raised it, if that was another one; else None.
    """

    code: ClassVar[int] = 13
    fields: ClassVar[tuple[str, ...]] = ()
    """Names of the further attributes that travel with the error, as plain data; other values become texts."""

    # For a subclass whose constructor does not call this one.
    text: str = ""
    node: str | None = None

    def __init__(self, text: str = "", *, node: object = None, **details: Any) -> None:
        super().__init__(text)
        self.text = text
        self.node = None if node is None else str(node)
        for name in self.fields:
            setattr(self, name, details.pop(name, None))
        if details:
            raise TypeError(f"{type(self).__name__} has no attribute {sorted(details)[0]!r}")

    def __str__(self) -> str:
        # KeyError would show its argument's repr.
        text = str(self.text)
        return f"{text} (at {self.node})" if self.node and self.node not in text else text

    def __eq__(self, other: object) -> bool:
        """Errors are equal if they are equal on the wire."""
        if not isinstance(other, TrionetError):
            return NotImplemented
        return type(self) is type(other) and error_to_wire(self) == error_to_wire(other)

    def __hash__(self) -> int:
        wire = error_to_wire(self)
        return hash((type(self), wire["text"], wire.get("node")))


class DefiniteError(TrionetError):
    """It did not happen; a retry is safe."""

    code = 14


class IndefiniteError(TrionetError):
    """It may have happened."""

    code = 13


class NodeUnreachable(DefiniteError):
    """No connection to the node could be made; nothing was sent."""

    code = 1


class KeyMismatch(NodeUnreachable):
    """The node has another cluster key, or none, or its cluster has another name; nothing was sent.

    What the node answered is a hint: nothing authenticates it. Whatever it is, no call goes unsealed.
    """


class NotFound(DefiniteError, KeyError):
    """The node does not know a name in the call."""

    code = 10


class GroupNotFound(NotFound):
    """The node knows no group of that gid."""


class ServiceNotFound(NotFound):
    """The group has no service of that name."""


class MethodNotFound(NotFound):
    """The service exposes no method of that name."""


class TemporarilyUnavailable(DefiniteError):
    """The node refuses the call for now: it is stopping, or too busy."""

    code = 11


class MalformedRequest(DefiniteError, ValueError):
    """The call is invalid: it can't be understood, or its arguments don't fit."""

    code = 12


class EncodeError(MalformedRequest):
    """A value cannot travel. `path` is its place, such as ``$[0].items["a"]``."""

    fields: ClassVar[tuple[str, ...]] = ("path",)
    path: str | None


class DecodeError(MalformedRequest):
    """Received bytes are not a value."""


class UnknownKey(MalformedRequest):
    """A key of `status.get` is unknown."""


class ConfigError(MalformedRequest):
    """A configuration is invalid; the text names the setting."""


class Abort(DefiniteError):
    """The operation was aborted before it had any effect (Maelstrom's ``abort``)."""

    code = 14


class KeyDoesNotExist(DefiniteError):
    """A key-value store does not have the key."""

    code = 20


class KeyAlreadyExists(DefiniteError):
    """A key-value store already has the key."""

    code = 21


class PreconditionFailed(DefiniteError):
    """A compare-and-set found another value than it expected."""

    code = 22


class TxnConflict(DefiniteError):
    """A transaction conflicted with another one."""

    code = 30


class EmptyGroup(DefiniteError):
    """A group-wide call was made on a group without members."""

    code = 1000


class SIDCollision(DefiniteError):
    """Two different addresses have one SID."""

    code = 1001


class MessageTooLarge(DefiniteError):
    """A message is over the size limit; it was not sent, or not read."""

    code = 1002


class CodeRefused(DefiniteError):
    """A value would have to travel as code, which is not permitted."""

    code = 1003


class AddressInUse(DefiniteError):
    """Another program listens on that address."""

    code = 1004


class SpawnError(DefiniteError):
    """A node did not boot; the text is its reason."""

    code = 1005


class NotPermitted(DefiniteError):
    """The request is refused for security."""

    code = 1006


class CallTimeout(IndefiniteError):
    """The deadline passed before the answer arrived."""

    code = 0


class RemoteError(IndefiniteError):
    """A handler raised an exception; its type name, message and traceback are texts.

    Attributes:
        type_name: the qualified name of the remote exception's type, such as ``"ValueError"`` or ``"shop.OutOfStock"``.
        message: ``str()`` of the remote exception.
        traceback: the formatted remote traceback; of a long one, the innermost 16 Ki characters.
        arguments: those of the constructor, as JSON, of a class that is marked with ``trionet.error``; else None.
    """

    code = 13
    fields: ClassVar[tuple[str, ...]] = ("type_name", "message", "traceback", "arguments")
    type_name: str
    message: str
    traceback: str
    arguments: str | None

    @classmethod
    def from_exception(cls, exc: BaseException) -> RemoteError:
        """Describe `exc` for another node."""
        kind = type(exc)
        declared = declared_kind(kind)
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        name = printable(name if declared is None else declared.name)
        message = printable(described(exc))
        # The description of its cause or notes may be the user's, and fail.
        trace = attempt(lambda: printable("".join(traceback.format_exception(exc))), default="")
        given = None if declared is None else declared.arguments_of(exc)
        text = f"{name}: {message}" if message else name
        return cls(text, type_name=name, message=message, traceback=trace, arguments=given)


class ConnectionLost(IndefiniteError):
    """The connection broke after the call was sent."""

    code = 1100


class OrphanedCalls(IndefiniteError):
    """The handlers of cancelled calls did not confirm their end in time; raised only with ``orphans="raise"``.

    Attributes:
        calls: the id of each call, by the node where it may still be running: ``{"ip:port": "id"}``.
    """

    code = 1101
    fields: ClassVar[tuple[str, ...]] = ("calls",)
    calls: dict[str, str]


class CallCancelled(IndefiniteError):
    """The handler was cancelled while it ran, by another than its caller; the text says by whom."""

    code = 1102


class UnexpectedAnswer(IndefiniteError):
    """The method has run, and its answer is not of the type that its annotation names."""

    code = 1103


def _subclasses(cls: type[TrionetError]) -> list[type[TrionetError]]:
    return [cls, *(leaf for sub in cls.__subclasses__() for leaf in _subclasses(sub))]


_BY_NAME = {cls.__name__: cls for cls in _subclasses(TrionetError)}


def known_kinds() -> dict[str, type[TrionetError]]:
    """Return the types that are part of trionet, by name."""
    return _BY_NAME


def error_to_wire(error: TrionetError) -> dict[str, Any]:
    """Return `error` as plain data: ``code``, ``name``, ``text``, and the further fields of its type.

    It never raises, and JSON and MessagePack can encode its result, whatever the error contains.
    """
    plain = PlainData()
    wire = error_fields(error)
    return {name: plain.of(value) for name, value in wire.items()}


def error_fields(error: TrionetError) -> dict[str, Any]:
    """Return the same as `error_to_wire`, with unchanged values of further fields."""
    if declared_kind(type(error)) is not None:
        node, error = attribute(error, "node"), RemoteError.from_exception(error)
        error.node = node
    kind = known_kind(type(error))
    code = attribute(error, "code")
    wire: dict[str, Any] = {
        "code": code if type(code) is int and INT_MIN <= code <= INT_MAX else kind.code,
        "name": kind.__name__,
        "text": as_text(attribute(error, "text")),
    }
    if (node := attribute(error, "node")) is not None:
        wire["node"] = as_text(node)
    names = attribute(error, "fields")
    for name in names if isinstance(names, tuple | list) else ():
        if type(name) is str and name.isidentifier() and (value := attribute(error, name)) is not None:
            wire.setdefault(name, value)
    return wire


def known_kind(kind: type[TrionetError]) -> type[TrionetError]:
    """Return the nearest base of `kind`, or itself, that is part of trionet."""
    return next(base for base in kind.__mro__ if _BY_NAME.get(base.__name__) is base)
