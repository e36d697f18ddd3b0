"""Services that groups keep for their members.

Invariant: a kept service replaces a configured one, which is only the node's default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.errors import DecodeError, MalformedRequest
from trionet.events import Event, ServiceFailed
from trionet.identity import check_name
from trionet.import_paths import is_reference

from .names import check_service_name
from .service_table import Origin

if TYPE_CHECKING:
    from trionet.errors import TrionetError
    from trionet.identity import NodeAddress

    from .service_table import ServiceTable

__all__ = ["KeptServices", "kept_service", "service_key"]

_PREFIX: Final = "route/"


class _Value(msgspec.Struct, array_like=True):
    """The value of an entry.

    Attributes:
        service: an import path.
    """

    service: str


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Value)


def service_key(name: str) -> str:
    """Return the key of the entry for a service.

    Raises:
        MalformedRequest: it is not a name.
    """
    return _PREFIX + check_name(name, "service name")


def kept_service(service: str, name: str) -> tuple[str, bytes]:
    """Return the key and the value of the entry for a service.

    Raises:
        MalformedRequest: the name is malformed or a built-in's, or `service` is no import path.
    """
    check_service_name(name)
    if not is_reference(service):
        raise MalformedRequest(f"a service is named by its import path, 'package.module:Class', not {service!r:.100}")
    return service_key(name), _encoder.encode(_Value(service))


class KeptServices:
    """The kind of kept services on one node."""

    prefix: str = _PREFIX

    def __init__(self, table: ServiceTable) -> None:
        self._table = table

    def has_own(self, name: str) -> bool:
        """Whether this node has put a service of that name by itself."""
        return self._table.origin(name) is Origin.PUT

    def is_put(self, name: str) -> bool:
        """Whether the service is a kept one."""
        return self._table.origin(name) is Origin.KEPT

    def put(self, name: str, value: bytes) -> None:
        """Put the service, a new instance.

        Raises:
            DecodeError: the value names none.
            MalformedRequest: it can't be imported, or is no service.
        """
        try:
            service = _decoder.decode(value).service
        except (msgspec.MsgspecError, UnicodeDecodeError) as exc:
            raise DecodeError(f"not a kept service: {exc}") from exc
        self._table.add(service, name, Origin.KEPT)

    def get(self, name: str) -> Any:
        """Return the name, as `Routes.put` does."""
        return name

    def remove(self, name: str) -> None:
        """Remove the service if it is a kept one."""
        if self.is_put(name):
            self._table.remove(name)

    def drop(self, name: str) -> Any:
        """Remove the service; return whether there was one, as `Routes.rem` does."""
        return self._table.remove(name)

    def stays(self, name: str) -> Any:
        """Return True: the group that has ended the service has it no more."""
        del name
        return True

    def failed(self, node: NodeAddress, gid: str, name: str, error: TrionetError) -> Event:
        """Return the event for a service that can't be put."""
        return ServiceFailed(node=node, gid=gid, service=name, error=str(error))
