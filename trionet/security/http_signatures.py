"""Signatures of requests and answers between nodes over HTTP.

A profile of RFC 9421 with ``hmac-sha256``. Of a request, the method, the authority, the path, the query, the digest of
the body, and each header that means something to a node are covered; of an answer, the status, the digest and such
headers. The nonce of an answer is that of its request. The head is verified before any byte of the body is read.

Invariants: what is verified was made by a holder of the key, for this cluster and this receiver, at most a minute ago,
and is new; an answer is the one to that request. An added, changed, removed or repeated header of those covered is
noticed. The work for a forged request is bounded: 2,048 bytes are parsed, and one HMAC of the head is made. Comparisons
take constant time. A nonce is recorded only once its request is known to be authentic: nobody else can use it up, or
fill the store.

Source: RFC 9421, sections 1.4 (profiles), 3.1, 3.2 and 3.3.3; RFC 9530.
"""

from __future__ import annotations

import dataclasses
import hmac
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import ConfigError

from .base64url import from_text, to_text
from .keys import DerivedKeys
from .nonces import NonceStore, nonce_of, time_of
from .refusals import unproven
from .signature_base import (
    ComponentError,
    HttpRequest,
    HttpResponse,
    content_digest,
    signature_base,
    signature_params,
)

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

__all__ = [
    "COVERED_HEADERS",
    "COVERED_PREFIX",
    "RequestVerifier",
    "SignedRequest",
    "VerifiedRequest",
    "check_installed",
    "sign_request",
    "sign_response",
    "verify_response",
]

COVERED_PREFIX: Final = "trionet-"
COVERED_HEADERS: Final = ("accept", "content-encoding", "content-type")
"""The headers that are covered where they are there, besides those with the prefix."""

_LABEL: Final = "trionet"
_REQUEST_TAG: Final = "trionet-request"
_RESPONSE_TAG: Final = "trionet-response"
_ALGORITHM: Final = "hmac-sha256"
_OF_REQUESTS: Final = ("@method", "@authority", "@path", "@query", "content-digest")
_OF_RESPONSES: Final = ("@status", "content-digest")
_PARAMETERS: Final = ("created", "nonce", "keyid", "alg", "tag")
_MAX_INPUT_CHARS: Final = 2048
_US: Final = 1_000_000


@dataclasses.dataclass(frozen=True, slots=True)
class SignedRequest:
    """What makes a request a signed one.

    Attributes:
        headers: the headers to add to it.
        nonce: its nonce, which the answer must have.
    """

    headers: list[tuple[str, str]]
    nonce: bytes


@dataclasses.dataclass(frozen=True, slots=True)
class VerifiedRequest:
    """A request with an authentic and new head.

    Attributes:
        key_id: the id of the key that signed it, and signs the answer.
        nonce: its nonce, which signs the answer.
        digest: the value of its header ``Content-Digest``.
    """

    key_id: bytes
    nonce: bytes
    digest: str

    def check_body(self, body: bytes) -> None:
        """Raise `RequestRefused` if this is not the body that was signed."""
        if not _is_same(content_digest(body), self.digest):
            raise unproven("the body of the request is not the signed one")


def check_installed() -> None:
    """Raise `ConfigError` if the package that signatures need is not installed."""
    try:
        import http_sf  # noqa: F401  whether it is there
    except ImportError:
        raise ConfigError("keys need the package http-sf, an extra of trionet: pip install 'trionet[secure]'") from None


def sign_request(request: HttpRequest, body: bytes, keys: DerivedKeys, now_us: int, random: bytes) -> SignedRequest:
    """Return what to add to a request.

    Args:
        request: its head, with all headers that are covered and without those that are added.
        body: its body, encoded as it is sent.
        keys: those of the key that seals.
        now_us: the time, in microseconds since 1970.
        random: 16 random bytes.

    Raises:
        ComponentError: the request can't be signed: a covered header is there twice, or has special characters.
    """
    nonce = nonce_of(now_us, random)
    return SignedRequest(_signed(request, body, keys, nonce, now_us, _REQUEST_TAG), nonce)


def sign_response(
    response: HttpResponse, body: bytes, keys: DerivedKeys, nonce: bytes, now_us: int
) -> list[tuple[str, str]]:
    """Return the headers to add to the answer to a verified request.

    Args:
        response: its head, as that of `sign_request`.
        body: its body, encoded as it is sent.
        keys: those of the key that signed the request.
        nonce: that of the request.
        now_us: the time, in microseconds since 1970.

    Raises:
        ComponentError: the answer can't be signed.
    """
    return _signed(response, body, keys, nonce, now_us, _RESPONSE_TAG)


class RequestVerifier:
    """Verifies requests to one node.

    Args:
        keys: the derived keys of all keys that open, by key id.
        authorities: where requests to this node are sent to, as `normalized_authority` returns them.
        nonces: those that the node has seen.
        retired: the ids of keys that were retired and forgotten, for the reasons of refusals. A retired key that still
            opens is among `keys`: members that have not heard yet sign with it.
    """

    def __init__(
        self,
        keys: Mapping[bytes, DerivedKeys],
        authorities: Collection[str],
        nonces: NonceStore,
        retired: Collection[bytes] = (),
    ) -> None:
        self._keys = dict(keys)
        self._authorities = frozenset(authorities)
        self._nonces = nonces
        self._retired = frozenset(retired)
        if not all(isinstance(derived, DerivedKeys) for derived in self._keys.values()):
            raise ConfigError("the keys of signatures are DerivedKeys")

    def verify(self, request: HttpRequest, now_us: int) -> VerifiedRequest:
        """Return what is known of a request before its body is read.

        Args:
            request: its head. The target is that on the wire.
            now_us: the time, in microseconds since 1970.

        Raises:
            RequestRefused: it is not authentic, or not for this node, or not new.
        """
        try:
            key_id, nonce = self._authentic(request)
        except ComponentError as exc:
            raise unproven(exc.text) from None
        if request.authority not in self._authorities:
            raise unproven(f"the request was sent to {request.authority!r:.100}, which is not this node")
        refusal = self._nonces.refusal(nonce, now_us)
        if refusal is not None:
            raise unproven(refusal)
        return VerifiedRequest(key_id, nonce, request.component("content-digest"))

    def _authentic(self, request: HttpRequest) -> tuple[bytes, bytes]:
        """Return the key id and the nonce of a request that a holder of the key signed."""
        params = _params_of(request, _REQUEST_TAG)
        key_id = bytes.fromhex(params.key_name)
        keys = self._keys.get(key_id)
        if keys is None:
            known = "retired" if key_id in self._retired else "unknown here"
            raise ComponentError(f"the key {params.key_name} of the signature is {known}")
        _check_signature(request, params, keys)
        time_us = time_of(params.nonce)
        if time_us is None or time_us // _US != params.created:
            raise ComponentError("the nonce has not the time of the signature")
        return key_id, params.nonce


def verify_response(response: HttpResponse, body: bytes, keys: DerivedKeys, nonce: bytes) -> None:
    """Check the answer to a request.

    Args:
        response: its head.
        body: its body, before it is decoded.
        keys: those that signed the request.
        nonce: that of the request.

    Raises:
        RequestRefused: it is not what a holder of the key answered to that request.
    """
    try:
        params = _params_of(response, _RESPONSE_TAG)
        if params.key_name != keys.key_id.hex() or not hmac.compare_digest(params.nonce, nonce):
            raise ComponentError("the answer is to another request")
        _check_signature(response, params, keys)
        if not _is_same(content_digest(body), response.component("content-digest")):
            raise ComponentError("the body of the answer is not the signed one")
    except ComponentError as exc:
        raise unproven(exc.text) from None


@dataclasses.dataclass(frozen=True, slots=True)
class _Params:
    """The parsed header ``Signature-Input``."""

    components: list[str]
    created: int
    nonce: bytes
    key_name: str
    text: str


def _signed(
    message: HttpRequest | HttpResponse, body: bytes, keys: DerivedKeys, nonce: bytes, now_us: int, tag: str
) -> list[tuple[str, str]]:
    digest = ("Content-Digest", content_digest(body))
    message = dataclasses.replace(message, headers=[*message.headers, digest])
    components = _covered(message)
    parameters = {
        "created": now_us // _US,
        "nonce": to_text(nonce),
        "keyid": keys.key_id.hex(),
        "alg": _ALGORITHM,
        "tag": tag,
    }
    params = signature_params(components, parameters)
    signature = _signature(keys, signature_base(message, components, params))
    return [digest, ("Signature-Input", f"{_LABEL}={params}"), ("Signature", signature)]


def _covered(message: HttpRequest | HttpResponse) -> list[str]:
    """Return the names of all components of a message that are covered."""
    names = {name.lower() for name, _ in message.headers}
    present = sorted(name for name in names if name.startswith(COVERED_PREFIX) or name in COVERED_HEADERS)
    return [*(_OF_REQUESTS if isinstance(message, HttpRequest) else _OF_RESPONSES), *present]


def _signature(keys: DerivedKeys, base: bytes) -> str:
    import http_sf

    return http_sf.ser({_LABEL: (hmac.digest(keys.http_key, base, "sha256"), {})})


def _check_signature(message: HttpRequest | HttpResponse, params: _Params, keys: DerivedKeys) -> None:
    """Raise `ComponentError` if the message lacks a signature by this key over all that must be covered."""
    needed = _covered(message)
    if sorted(params.components) != sorted(needed):
        raise ComponentError("the signature does not cover all that it must, or more")
    expected = _signature(keys, signature_base(message, params.components, params.text))
    if not _is_same(expected, message.component("signature")):
        raise ComponentError("the signature is forged, or of another cluster")


def _params_of(message: HttpRequest | HttpResponse, tag: str) -> _Params:
    """Return the parameters of a signature.

    Raises:
        ComponentError: there are none, or they are not of this profile.
    """
    text = message.component("signature-input")
    components, parameters = _parsed(text)
    created, nonce, key_name = (parameters.get(name) for name in _PARAMETERS[:3])
    if set(parameters) - set(_PARAMETERS) or parameters.get("tag") != tag:
        raise ComponentError(f"the signature has other parameters than those of {tag}")
    if parameters.get("alg", _ALGORITHM) != _ALGORITHM:
        raise ComponentError(f"the signature is not {_ALGORITHM}")
    if type(created) is not int or type(nonce) is not str or type(key_name) is not str:
        raise ComponentError("the signature lacks its time, its nonce or its key")
    raw_nonce = from_text(nonce)
    if raw_nonce is None or not _is_key_name(key_name):
        raise ComponentError("the signature has a malformed nonce or key id")
    return _Params(components, created, raw_nonce, key_name, text.removeprefix(f"{_LABEL}="))


def _parsed(text: str) -> tuple[list[str], dict[str, Any]]:
    """Return the components and the parameters in the header ``Signature-Input``, if it is in its canonical form."""
    import http_sf

    if len(text) > _MAX_INPUT_CHARS:
        raise ComponentError("the header Signature-Input is too long")
    try:
        members: Any = http_sf.parse(text.encode(), tltype="dictionary")
        is_canonical = http_sf.ser(members) == text
    except ValueError:
        raise ComponentError("the header Signature-Input is malformed") from None
    if not is_canonical or list(members) != [_LABEL]:
        raise ComponentError(f"the header Signature-Input has not one canonical member {_LABEL}")
    items, parameters = members[_LABEL]
    if not isinstance(items, list) or not all(type(name) is str and not extras for name, extras in items):
        raise ComponentError("the header Signature-Input has no list of components")
    return [name for name, _ in items], parameters


def _is_key_name(name: str) -> bool:
    return len(name) == 8 and all(char in "0123456789abcdef" for char in name)  # noqa: PLR2004  4 bytes


def _is_same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())
