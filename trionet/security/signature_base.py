"""What a signature of an HTTP message covers: its components, and the bytes made of them.

Derived components have names that begin with ``@``; all others are header fields. A component of a message occurs once
in it, and has only visible ASCII characters and spaces: no value can look like a second line of the base.

Source: RFC 9421, sections 2.1 to 2.5 (`signature_base` is section 2.5); RFC 9530 (`content_digest`); RFC 9651
(structured fields), by `http_sf`.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import MalformedRequest

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = [
    "ComponentError",
    "HttpRequest",
    "HttpResponse",
    "content_digest",
    "normalized_authority",
    "signature_base",
    "signature_params",
]

_DEFAULT_PORTS: Final = {"http": ":80", "https": ":443"}
_VALUE: Final = re.compile(r"(?:[\x21-\x7e](?:[\t\x20-\x7e]*[\x21-\x7e])?)?\Z")
_STATUS: Final = range(100, 600)


class ComponentError(MalformedRequest):
    """A component of a message is missing, ambiguous or malformed. The text does not quote it."""


@dataclasses.dataclass(frozen=True, slots=True)
class _Message:
    """The head of an HTTP message.

    Attributes:
        headers: names and values, in order.
    """

    headers: Sequence[tuple[str, str]]

    def field_values(self, name: str) -> list[str]:
        """Return the values of a header, one for each of its lines."""
        return [value.strip(" \t") for key, value in self.headers if key.lower() == name]

    def component(self, name: str) -> str:
        """Return the value of a component.

        Raises:
            ComponentError: the message has none, or several, or it is malformed.
        """
        value = self._derived(name) if name.startswith("@") else self._field(name)
        if _VALUE.match(value) is None:
            raise ComponentError(f"the component {name:.80} has characters that can't be signed")
        return value

    def _derived(self, name: str) -> str:
        raise ComponentError(f"such a message has no component {name:.80}")

    def _field(self, name: str) -> str:
        values = self.field_values(name)
        if len(values) != 1:
            raise ComponentError(f"the header {name:.80} is there {len(values)} times, and must be there once")
        return values[0]


@dataclasses.dataclass(frozen=True, slots=True)
class HttpRequest(_Message):
    """The head of a request.

    Attributes:
        method: its method.
        authority: where it is sent to, as `normalized_authority` returns it.
        target: the path and the query, as on the wire.
    """

    method: str
    authority: str
    target: str

    def _derived(self, name: str) -> str:
        path, _, query = self.target.partition("?")
        match name:
            case "@method":
                return self.method
            case "@authority":
                return self.authority
            case "@path":
                if not path.startswith("/") or "#" in self.target or " " in self.target:
                    raise ComponentError("the target of the request is no path")
                return path
            case "@query":
                return f"?{query}"
        return super(HttpRequest, self)._derived(name)


@dataclasses.dataclass(frozen=True, slots=True)
class HttpResponse(_Message):
    """The head of a response.

    Attributes:
        status: its status.
    """

    status: int

    def _derived(self, name: str) -> str:
        if name == "@status" and self.status in _STATUS:
            return str(self.status)
        return super(HttpResponse, self)._derived(name)


def normalized_authority(host: str, scheme: str = "http") -> str:
    """Return the authority that the header ``Host`` gives: in lower case, without the default port."""
    return host.strip(" \t").lower().removesuffix(_DEFAULT_PORTS.get(scheme, "\0"))


def signature_params(components: Sequence[str], parameters: Mapping[str, Any]) -> str:
    """Return the inner list of the components with the parameters, as it stands in ``Signature-Input``."""
    import http_sf

    inner_list: Any = ([(name, {}) for name in components], dict(parameters))
    return http_sf.ser({"s": inner_list}).removeprefix("s=")


def signature_base(message: HttpRequest | HttpResponse, components: Sequence[str], params: str) -> bytes:
    """Return the bytes to sign.

    Args:
        message: the message.
        components: the names of what is covered, in lower case.
        params: what `signature_params` returns for these.

    Raises:
        ComponentError: the message lacks one of them.
    """
    lines = [f'"{name}": {message.component(name)}' for name in components]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode("ascii")


def content_digest(body: bytes) -> str:
    """Return the value of the header ``Content-Digest``."""
    import http_sf

    return http_sf.ser({"sha-256": (hashlib.sha256(body).digest(), {})})
