"""Who makes a request over HTTP to a node with keys or a certificate: a token's holder, or a node of the cluster.

Invariants: each request but ``/healthz`` has a valid token, or is a call signed by a node; its head is checked before
any byte of its body is read. Only what a node has signed is believed of its headers. The client learns nothing of the
keys. Nothing is accepted from other machines without TLS: whoever sees a token can use it. On a node with a certificate
and no key, the client's certificate is the proof.

Source: RFC 6750 (bearer tokens), 9421 (signatures).
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol

from trionet.detours import destinations
from trionet.identity import NodeAddress, is_loopback
from trionet.principal import Principal
from trionet.security.http_signatures import RequestVerifier, sign_response
from trionet.security.nonces import NonceStore
from trionet.security.refusals import FORBIDDEN, RequestRefused, unproven
from trionet.security.scopes import NEEDS_KEY, check_method, needs_key
from trionet.security.signature_base import HttpRequest, HttpResponse, normalized_authority
from trionet.security.token_scope import Scope
from trionet.security.tokens import bearer_token
from trionet.trace_headers import trace_from_headers

from .call_headers import TRACE_HEADER, signed_trace_from
from .clock import time_us
from .signed_calls import no_signed_stream
from .web_tls import TLS_CLIENT

if TYPE_CHECKING:
    from collections.abc import Collection

    from hypercorn.typing import HTTPScope, WebsocketScope

    from trionet.message import Call
    from trionet.security.http_signatures import VerifiedRequest
    from trionet.security.keys import DerivedKeys
    from trionet.security.live_keys import LiveKeys
    from trionet.security.node_keys import NodeKeys
    from trionet.security.peer_certificate import PeerCertificate
    from trionet.security.tokens import Token

    from .base import Handler
    from .web_head import Headers
    from .web_tls import TLSClient

__all__ = ["ANYONE", "Grant", "Requester", "WebAccess"]

_SIGNATURE: Final = "signature-input"
_NO_STATE: Final[dict[str, Any]] = {}
_PROOFS: Final = ("authorization", _SIGNATURE)
_ENDING_S: Final = 60.0


class Grant(NamedTuple):
    """What a client may do.

    Attributes:
        scope: ``read``, ``call`` or ``admin``.
        is_proven: whether it has proven who it is.
        expires_s: when its token ends, in seconds since 1970; None without one.
    """

    scope: str = "admin"
    is_proven: bool = False
    expires_s: int | None = None


class Requester(Protocol):
    """Who makes a request.

    Attributes:
        is_believed: whether its headers may name a node as the caller.
        signs: whether answers to it are signed.
        certificate: the certificate by which it is known; None if it is known by another proof.
        grant: what it may do.
    """

    is_believed: bool
    signs: bool
    certificate: PeerCertificate | None
    grant: Grant

    @property
    def is_ending(self) -> bool:
        """Whether its certificate is about to end, and so its connection is to end before."""

    def principals(self, caller: NodeAddress | None, claimed: str | None) -> tuple[Principal | None, Principal | None]:
        """Return in whose name it calls, and who has forwarded the call; None for anyone, and for nobody.

        Args:
            caller: the node that the request names.
            claimed: the text of the principal that it names.
        """

    def trace(self, headers: Headers) -> bytes:
        """Return the trace context in the headers of its request."""

    def check_route(self, *, is_safe: bool) -> None:
        """Raise `RequestRefused` unless it may use the user's own routes; `is_safe`: by GET or HEAD."""

    def check_method(self, handler: Handler, gid: str, service: str, method: str) -> None:
        """Raise `NotPermitted` unless it may call a method of `handler`, whatever the arguments."""

    def check_body(self, body: bytes) -> None:
        """Raise `RequestRefused` unless this is the body that it has sent."""

    def check_call(self, handler: Handler, call: Call) -> None:
        """Raise `NotPermitted` unless it may make a call with these arguments."""

    def signature_of(self, headers: list[tuple[str, str]], status: int, body: bytes) -> list[tuple[str, str]]:
        """Return the headers that sign an answer with these headers; none where answers are not signed."""


class _Anyone:
    """Whoever makes a request to a node without keys."""

    is_believed = True
    signs = False
    certificate: PeerCertificate | None = None
    grant = Grant()

    @property
    def is_ending(self) -> bool:
        return self.certificate is not None and self.certificate.ends_at < time.time() + _ENDING_S

    def principals(self, caller: NodeAddress | None, claimed: str | None) -> tuple[Principal | None, Principal | None]:
        return None, None

    def trace(self, headers: Headers) -> bytes:
        return trace_from_headers(",".join(headers.getlist("traceparent")), ",".join(headers.getlist("tracestate")))

    def check_route(self, *, is_safe: bool) -> None:
        pass

    def check_method(self, handler: Handler, gid: str, service: str, method: str) -> None:
        pass

    def check_body(self, body: bytes) -> None:
        pass

    def check_call(self, handler: Handler, call: Call) -> None:
        pass

    def signature_of(self, headers: list[tuple[str, str]], status: int, body: bytes) -> list[tuple[str, str]]:
        return []


ANYONE: Final[Requester] = _Anyone()


class _PlainPeer(_Anyone):
    """Whoever makes a request without a proof, during a rollout: it administers nothing, and handles no keys."""

    grant = Grant("call")

    def check_method(self, handler: Handler, gid: str, service: str, method: str) -> None:
        if needs_key(service, method):
            reason = f"{service}/{method} {NEEDS_KEY}"
            raise RequestRefused(reason, reason=reason, status=FORBIDDEN)

    def check_call(self, handler: Handler, call: Call) -> None:
        for service, method in destinations(call):
            self.check_method(handler, call.gid, service, method)


_PLAIN_PEER: Final[Requester] = _PlainPeer()


class _TokenHolder(_Anyone):
    """A person, or a person's program."""

    is_believed = False

    def __init__(self, token: Token) -> None:
        self._token = token
        self.grant = _grant_of(token)

    def principals(self, caller: NodeAddress | None, claimed: str | None) -> tuple[Principal | None, Principal | None]:
        return Principal("token", self._token.id, self._token.scope.name.lower()), None

    def check_route(self, *, is_safe: bool) -> None:
        self._token.check(Scope.READ if is_safe else Scope.CALL)

    def check_method(self, handler: Handler, gid: str, service: str, method: str) -> None:
        check_method(self._token, service, method, is_read=handler.find(gid, service, method).is_read)

    def check_call(self, handler: Handler, call: Call) -> None:
        self.check_method(handler, call.gid, call.service, call.method)  # it may be another since the body has come
        for service, method in destinations(call):
            check_method(self._token, service, method)


class _SigningNode(_Anyone):
    """A node of the cluster, which may call everything but streams; only its calls are signed with their bodies.

    Between nodes with certificates it is the one that its certificate names.
    """

    signs = True

    def __init__(self, request: VerifiedRequest, keys: DerivedKeys, certificate: PeerCertificate | None) -> None:
        self._request = request
        self._keys = keys
        self.certificate = certificate
        self.grant = Grant(is_proven=True)

    def principals(self, caller: NodeAddress | None, claimed: str | None) -> tuple[Principal | None, Principal | None]:
        if self.certificate is not None:
            return _of_certificate(self.certificate, caller, claimed)
        return _forwarded(Principal.node(caller), claimed)

    def trace(self, headers: Headers) -> bytes:
        return signed_trace_from(headers.get(TRACE_HEADER))

    def check_route(self, *, is_safe: bool) -> None:
        del is_safe
        raise unproven("a signature is for calls; this path needs a token")

    def check_method(self, handler: Handler, gid: str, service: str, method: str) -> None:
        if handler.find(gid, service, method).is_stream:
            text = no_signed_stream(service, method)
            raise RequestRefused(text, reason=text, status=FORBIDDEN)

    def check_body(self, body: bytes) -> None:
        self._request.check_body(body)

    def signature_of(self, headers: list[tuple[str, str]], status: int, body: bytes) -> list[tuple[str, str]]:
        return sign_response(HttpResponse(headers, status), body, self._keys, self._request.nonce, time_us())


class _CertifiedNode(_Anyone):
    """A node of the cluster by its certificate, on a node without a key: all that comes within TLS is its own."""

    grant = Grant(is_proven=True)

    def __init__(self, certificate: PeerCertificate) -> None:
        self.certificate = certificate

    def principals(self, caller: NodeAddress | None, claimed: str | None) -> tuple[Principal | None, Principal | None]:
        assert self.certificate is not None
        return _of_certificate(self.certificate, caller, claimed)


class WebAccess:
    """Checks the requests to one node with keys, or with a certificate.

    Args:
        keys: the node's; none if it has a certificate alone.
        authorities: where requests to it are sent to; see `own_authorities.own_authorities`.
        started_us: the time of its start, in microseconds since 1970: earlier signatures are refused.
    """

    def __init__(self, keys: LiveKeys, authorities: Collection[str], started_us: int) -> None:
        self._keys = keys
        self._authorities = authorities
        self._nonces = NonceStore(started_us)
        keys.watch(self._use_keys)

    def _use_keys(self, keys: NodeKeys) -> None:
        """Verify with other keys from now on; what was seen stays seen."""
        self._opening = keys.opening
        self._tokens = keys.token_verifier()
        self._signatures = RequestVerifier(keys.opening, self._authorities, self._nonces, keys.retired)

    def requester(self, scope: HTTPScope | WebsocketScope) -> Requester:
        """Return who makes a request, by its head.

        Raises:
            RequestRefused: it proves nothing, or comes from another machine.
        """
        within: TLSClient | None = scope.get("state", _NO_STATE).get(TLS_CLIENT)
        headers = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in scope["headers"]]
        if self._keys.accepts_plain:
            given = {name.lower() for name, _ in headers}
            if not self._keys and _SIGNATURE in given:
                raise unproven("this node has no key yet")  # its answer could not be signed
            if not self._keys:
                return ANYONE  # a token proves nothing yet, and takes nothing away
            if given.isdisjoint(_PROOFS):
                return _PLAIN_PEER
        if not self._keys:
            return _CertifiedNode(_certificate_of(within))
        _check_channel(scope, within)
        if any(name.lower() == _SIGNATURE for name, _ in headers):
            return self._signing_node(scope, headers, within)
        texts = [value for name, value in headers if name.lower() == "authorization"]
        return _TokenHolder(self._verified(bearer_token(texts)))

    @property
    def needs_secret(self) -> bool:
        """Whether each request needs a token or a signature now, which a web page of another origin has not."""
        return bool(self._keys) and not self._keys.accepts_plain

    def grant_of(self, scope: HTTPScope | WebsocketScope, token: str) -> Grant:
        """Return what the holder of a token may do, who has made a request with another proof.

        Raises:
            RequestRefused: the token is not valid, or the request comes from another machine without TLS.
        """
        _check_channel(scope, scope.get("state", _NO_STATE).get(TLS_CLIENT))
        return _grant_of(self._verified(token))

    def _verified(self, token: str) -> Token:
        if not self._keys:
            raise unproven("this node has no key, and so no tokens")
        return self._tokens.verify(token, time.time(), Scope.READ)

    def _signing_node(
        self, scope: HTTPScope | WebsocketScope, headers: list[tuple[str, str]], within: TLSClient | None
    ) -> Requester:
        hosts = [value for name, value in headers if name.lower() == "host"]
        authority = normalized_authority(hosts[0]) if len(hosts) == 1 else ""
        target = b"?".join(part for part in (scope["raw_path"], scope["query_string"]) if part).decode("latin-1")
        method = scope["method"] if scope["type"] == "http" else "GET"
        verified = self._signatures.verify(HttpRequest(headers, method, authority, target), time_us())
        certificate = _certificate_of(within) if self._keys.is_certified else None
        return _SigningNode(verified, self._opening[verified.key_id], certificate)


def _check_channel(scope: HTTPScope | WebsocketScope, within: TLSClient | None) -> None:
    """Raise `RequestRefused` for a request from another machine without TLS: whoever sees its token can use it."""
    client = scope.get("client")
    if within is None and (client is None or not is_loopback(client[0])):
        raise RequestRefused(
            "with a key, plain HTTP is for clients on this machine only, because a bearer token can be sniffed: "
            "use an ssh tunnel (ssh -L), a proxy with TLS on this machine, or https:// if it has a certificate",
            reason="the client is on another machine, and speaks no TLS",
            status=FORBIDDEN,
        )


def _grant_of(token: Token) -> Grant:
    return Grant(token.scope.name.lower(), is_proven=True, expires_s=token.expires_s)


def _forwarded(peer: Principal, claimed: str | None) -> tuple[Principal, Principal | None]:
    """Return in whose name `peer` calls, and who has forwarded the call, if it has.

    Raises:
        MalformedRequest: the claimed text is no principal's.
    """
    return (peer, None) if claimed is None else (Principal.parse(claimed), peer)


def _of_certificate(
    certificate: PeerCertificate, caller: NodeAddress | None, claimed: str | None
) -> tuple[Principal, Principal | None]:
    """Return in whose name the holder of a certificate calls, and who has forwarded the call.

    Raises:
        RequestRefused: it states an address that its certificate is not for.
    """
    if caller is not None and not certificate.may_claim(caller.ip):
        text = f"the certificate of {certificate.name} is not for the address that it states"
        raise RequestRefused(text, reason=text, status=FORBIDDEN)
    return _forwarded(Principal("certificate", certificate.name), claimed)


def _certificate_of(client: TLSClient | None) -> PeerCertificate:
    """Return the certificate of the node that makes a request to a node with a certificate.

    Raises:
        RequestRefused: it has none of a node of this cluster.
    """
    if client is not None and client.certificate is not None:
        if client.certificate.ends_at > time.time():  # the connection may be old
            return client.certificate
        text = "the client certificate has expired: renew it, and connect again"
        raise RequestRefused(text, reason="its certificate has expired", status=FORBIDDEN)
    raise RequestRefused(
        "this needs https:// and a client certificate of a node of this cluster; with a key, tokens would do, too",
        reason="plain HTTP, and nodes need client certificates here" if client is None else client.fault,
        status=FORBIDDEN,
    )
