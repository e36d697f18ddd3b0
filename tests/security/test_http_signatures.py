"""Signed requests and answers between nodes: what was changed, replayed, reflected or misdirected is refused."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import hmac
import random
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.growth import no_growth
from tests.security.keys import key_of, shown_in
from trionet import ConfigError
from trionet.security.http_signatures import (
    RequestVerifier,
    VerifiedRequest,
    sign_request,
    sign_response,
    verify_response,
)
from trionet.security.keys import derive
from trionet.security.nonces import CLOCKS_DIFFER_US, WINDOW_US, NonceStore
from trionet.security.refusals import RequestRefused
from trionet.security.signature_base import ComponentError, HttpRequest, HttpResponse, signature_base

START = 1_800_000_000_000_000
NOW = START + 3_600_000_000
KEYS, OLD = derive(key_of(1), "shop"), derive(key_of(2), "shop")
BODY = b"[5]"
HEADERS = [
    ("Host", "10.0.0.1:8080"),
    ("Trionet-Call-Id", "a1"),
    ("Trionet-Caller", "b.example:8080"),
    ("Accept", "application/msgpack"),
    ("Content-Type", "application/json"),
    ("User-Agent", "python-httpx"),
]
REQUEST = HttpRequest(HEADERS, method="PUT", authority="10.0.0.1:8080", target="/local/counter/add?x=1")
RESPONSE = HttpResponse([("Content-Type", "application/json"), ("Trionet-Depth", "1"), ("Server", "h")], status=200)


def verifier(**changes: Any) -> RequestVerifier:
    """Return the verifier of a node that has just started to receive."""
    parts: dict[str, Any] = {
        "keys": {KEYS.key_id: KEYS, OLD.key_id: OLD},
        "authorities": {"10.0.0.1:8080", "a.example:8080"},
        "nonces": NonceStore(START),
    }
    return RequestVerifier(**(parts | changes))


def signed(request: HttpRequest = REQUEST, now_us: int = NOW, keys: Any = KEYS, seed: int = 1) -> HttpRequest:
    """Return a request with its signature."""
    added = sign_request(request, BODY, keys, now_us, random.Random(seed).randbytes(16))
    return dataclasses.replace(request, headers=[*request.headers, *added.headers])


def with_header(message: Any, name: str, change: Any) -> Any:
    """Return the message with ``change(value)`` for the value of a header."""
    return dataclasses.replace(
        message, headers=[(key, change(value) if key == name else value) for key, value in message.headers]
    )


def refused(request: HttpRequest, now_us: int = NOW, by: RequestVerifier | None = None) -> RequestRefused:
    """Return the refusal of a request."""
    with pytest.raises(RequestRefused) as caught:
        (by or verifier()).verify(request, now_us)
    assert not shown_in(f"{caught.value} {caught.value.reason}", [KEYS.http_key, OLD.http_key])
    assert caught.value.status == 401
    return caught.value


def test_a_signed_request_is_verified_and_so_is_its_answer() -> None:
    sent = sign_request(REQUEST, BODY, KEYS, NOW, bytes(range(16)))
    assert [name for name, _ in sent.headers] == ["Content-Digest", "Signature-Input", "Signature"]
    received = dataclasses.replace(REQUEST, headers=[*REQUEST.headers, *sent.headers])
    verified = verifier().verify(received, NOW + 5_000_000)
    verified.check_body(BODY)
    assert (verified.key_id, verified.nonce) == (KEYS.key_id, sent.nonce)
    added = sign_response(RESPONSE, b"7", KEYS, verified.nonce, NOW + 1)
    verify_response(dataclasses.replace(RESPONSE, headers=[*RESPONSE.headers, *added]), b"7", KEYS, sent.nonce)


def test_the_headers_of_a_signed_request_are_those_of_rfc_9421() -> None:
    (_, digest), (_, given_input), (_, signature) = sign_request(REQUEST, BODY, KEYS, NOW, bytes(16)).headers
    assert digest == f"sha-256=:{base64.b64encode(hashlib.sha256(BODY).digest()).decode()}:"
    assert given_input == (
        'trionet=("@method" "@authority" "@path" "@query" "content-digest" "accept" "content-type" "trionet-call-id" '
        f'"trionet-caller");created=1800003600;nonce="AAZlF_8sJAAAAAAAAAAAAAAAAAAAAAAA";keyid="{KEYS.key_id.hex()}";'
        'alg="hmac-sha256";tag="trionet-request"'
    )
    assert signature.startswith("trionet=:")
    assert len(signature) == len("trionet=::") + 44


def test_a_request_without_body_and_query_is_signed_too() -> None:
    plain = HttpRequest([], method="GET", authority="10.0.0.1:8080", target="/")
    added = sign_request(plain, b"", KEYS, NOW, bytes(16))
    verifier().verify(dataclasses.replace(plain, headers=added.headers), NOW).check_body(b"")


@pytest.mark.parametrize(
    "change",
    [
        *({"method": "POST"}, {"method": "put"}, {"authority": "a.example:8080"}, {"target": "/local/counter/del?x=1"}),
        *({"target": "/local/counter/add?x=2"}, {"target": "/local/counter/add"}, {"target": "/local/counter/add?"}),
        *(
            {"target": "//local/counter/add?x=1"},
            {"target": "/local/counter/./add?x=1"},
            {"target": "/local/counter/add?x=%31"},
        ),
    ],
    ids=str,
)
def test_a_changed_request_line_is_refused(change: dict[str, Any]) -> None:
    assert "forged" in refused(dataclasses.replace(signed(), **change)).reason


@pytest.mark.parametrize(
    "name",
    ["Trionet-Call-Id", "Trionet-Caller", "Accept", "Content-Type", "Content-Digest", "Signature-Input", "Signature"],
)
def test_a_covered_header_that_is_changed_removed_or_repeated_is_refused(name: str) -> None:
    request = signed()
    values = [value for key, value in request.headers if key == name]
    for other in (
        with_header(request, name, lambda value: value + "x"),
        with_header(request, name, lambda _: ""),
        with_header(request, name, lambda value: value.swapcase()),
        dataclasses.replace(request, headers=[pair for pair in request.headers if pair[0] != name]),
        dataclasses.replace(request, headers=[*request.headers, (name, values[0])]),
        dataclasses.replace(request, headers=[(name.lower(), "other"), *request.headers]),
    ):
        refused(other)


@pytest.mark.parametrize("name", ["Trionet-Depth", "Trionet-Timeout", "trionet-new", "Content-Encoding", "TRIONET-X"])
def test_a_header_that_would_mean_something_and_is_not_covered_is_refused(name: str) -> None:
    request = signed()
    added = dataclasses.replace(request, headers=[*request.headers, (name, "1")])
    assert "does not cover all that it must" in refused(added).reason


def test_a_header_that_means_nothing_may_be_changed() -> None:
    request = with_header(signed(), "User-Agent", lambda _: "other")
    verifier().verify(dataclasses.replace(request, headers=[*request.headers, ("Via", "1.1 a")]), NOW)


def test_any_bit_flipped_in_what_is_covered_is_refused() -> None:
    request = signed()
    checked = 0
    for index, (name, value) in enumerate(request.headers):
        if name in ("Host", "User-Agent"):
            continue
        for place in range(len(value)):
            for bit in range(8):
                flipped = value[:place] + chr(ord(value[place]) ^ 1 << bit) + value[place + 1 :]
                headers = [*request.headers]
                headers[index] = (name, flipped)
                refused(dataclasses.replace(request, headers=headers))
                checked += 1
    assert checked > 3000


def test_another_body_is_refused() -> None:
    verified = verifier().verify(signed(), NOW)
    for body in (b"", b"[6]", BODY + b" "):
        with pytest.raises(RequestRefused, match="Authorization") as caught:
            verified.check_body(body)
        assert caught.value.reason == "the body of the request is not the signed one"


def test_a_replayed_request_is_refused_and_a_new_one_is_not() -> None:
    receiver = verifier()
    receiver.verify(signed(), NOW)
    assert refused(signed(), NOW + 1, receiver).reason == "the request was replayed"
    receiver.verify(signed(seed=2), NOW + 1)


def test_a_request_from_an_earlier_life_of_the_receiver_is_refused() -> None:
    """It may be a replay of one that the earlier life answered, even in the same second."""
    restarted = verifier(nonces=NonceStore(NOW + 1))
    assert "from before this node's start" in refused(signed(now_us=NOW), NOW + 5, restarted).reason
    restarted.verify(signed(now_us=NOW + 2), NOW + 5)


def test_a_request_to_another_node_is_refused() -> None:
    other = verifier(authorities={"10.0.0.3:8080"})
    assert "'10.0.0.1:8080', which is not this node" in refused(signed(), by=other).reason


def test_a_request_that_is_old_or_in_the_future_is_refused() -> None:
    assert "old: do the clocks differ?" in refused(signed(), NOW + WINDOW_US + 1).reason
    assert "in the future: do the clocks differ?" in refused(signed(), NOW - CLOCKS_DIFFER_US - 1).reason


def test_a_forged_request_uses_up_no_nonce() -> None:
    nonces = NonceStore(START)
    receiver = verifier(nonces=nonces)
    refused(dataclasses.replace(signed(), method="POST"), by=receiver)
    refused(dataclasses.replace(signed(dataclasses.replace(REQUEST, authority="x"))), by=receiver)
    assert len(nonces) == 0
    receiver.verify(signed(), NOW)


def test_keys_that_open_verify_and_others_do_not() -> None:
    assert verifier().verify(signed(keys=OLD), NOW).key_id == OLD.key_id
    unknown = derive(key_of(3), "shop")
    name = unknown.key_id.hex()
    assert f"the key {name} of the signature is unknown here" in refused(signed(keys=unknown)).reason
    forgotten = verifier(retired={unknown.key_id})
    assert f"the key {name} of the signature is retired" in refused(signed(keys=unknown), by=forgotten).reason
    assert "of another cluster" in refused(signed(keys=derive(key_of(1), "other"))).reason


def test_every_refusal_has_one_answer() -> None:
    refusals = [
        refused(REQUEST),
        refused(dataclasses.replace(signed(), method="POST")),
        refused(signed(keys=derive(key_of(3), "shop"))),
        refused(signed(), NOW + WINDOW_US + 1),
        refused(signed(dataclasses.replace(REQUEST, authority="other"))),
    ]
    assert len({(refusal.status, str(refusal)) for refusal in refusals}) == 1
    assert len({refusal.reason for refusal in refusals}) == len(refusals)


def test_an_answer_and_a_request_can_not_stand_for_each_other() -> None:
    request = signed()
    reflected = HttpResponse(list(request.headers), status=200)
    verified = verifier().verify(request, NOW)
    with pytest.raises(RequestRefused):
        verify_response(reflected, BODY, KEYS, verified.nonce)
    answer = sign_response(RESPONSE, BODY, KEYS, verified.nonce, NOW)
    refused(dataclasses.replace(REQUEST, headers=answer))


@pytest.mark.parametrize("status", [201, 404, 500])
def test_another_status_is_refused(status: int) -> None:
    check_answer_refused(lambda answer: dataclasses.replace(answer, status=status))


@pytest.mark.parametrize("name", ["Content-Type", "Trionet-Depth", "Content-Digest", "Signature-Input", "Signature"])
def test_a_changed_header_of_an_answer_is_refused(name: str) -> None:
    check_answer_refused(lambda answer: with_header(answer, name, lambda value: value + "x"))
    check_answer_refused(
        lambda answer: dataclasses.replace(answer, headers=[pair for pair in answer.headers if pair[0] != name])
    )


def check_answer_refused(change: Any) -> None:
    """Check that a changed answer is refused, and the same one without the change is not."""
    nonce = verifier().verify(signed(), NOW).nonce
    added = sign_response(RESPONSE, b"7", KEYS, nonce, NOW)
    answer = dataclasses.replace(RESPONSE, headers=[*RESPONSE.headers, *added])
    verify_response(answer, b"7", KEYS, nonce)
    with pytest.raises(RequestRefused):
        verify_response(change(answer), b"7", KEYS, nonce)


def test_the_answer_to_another_request_or_by_another_key_is_refused() -> None:
    nonces = [verifier().verify(signed(seed=seed), NOW).nonce for seed in (1, 2)]
    added = sign_response(RESPONSE, b"7", KEYS, nonces[0], NOW)
    answer = dataclasses.replace(RESPONSE, headers=[*RESPONSE.headers, *added])
    for body, keys, nonce in ((b"7", KEYS, nonces[1]), (b"7", OLD, nonces[0]), (b"8", KEYS, nonces[0])):
        with pytest.raises(RequestRefused):
            verify_response(answer, body, keys, nonce)


@pytest.mark.parametrize(
    "change",
    [
        *("created=1800003601", "created=1800003600.0", 'created="1800003600"', "created", "created=-1"),
        *(
            'nonce="AAAA"',
            'nonce=""',
            "nonce=AAAA",
            "nonce=:AAAA:",
            'keyid="00000000"',
            'keyid="1"',
            'keyid="zzzzzzzz"',
        ),
        *('alg="none"', 'alg="rsa-v1_5-sha256"', 'tag="trionet-response"', 'tag=""', "expires=1"),
    ],
)
def test_other_parameters_are_refused_even_in_the_right_form(change: str) -> None:
    name = change.partition("=")[0]

    def changed(value: str) -> str:
        items, _, parameters = value.partition(");")
        kept = [each for each in parameters.split(";") if each.partition("=")[0] != name]
        return f"{items});{';'.join([*kept, change])}"

    refused(with_header(signed(), "Signature-Input", changed))


@pytest.mark.parametrize(
    "text",
    [
        *(
            "",
            "trionet",
            "trionet=",
            "trionet=()",
            "trionet=1",
            'trionet="a"',
            "trionet=:AAAA:",
            "trionet=?1",
            "other=()",
        ),
        *('trionet=("@method" "@method")', 'trionet=("@method";req)', 'trionet=(("a"))', "trionet=(a)", "trionet=(1)"),
        *("trionet=(", "trionet=)", 'trionet=("', 'trionet=("a', ",", "trionet=(),trionet=()", "trionet=(), other=()"),
        *("trionet=();" * 50, "trionet=" + "(" * 2000, "a" * 2048, "a" * 100_000, "trionet=(" + '"a" ' * 500 + ")"),
        *(
            "trionet=();created=99999999999999999999",
            "trionet=();created=1e5",
            "\u00e9",
            "\ud800",
            "trionet=()\n",
            "\0",
        ),
        *(
            'trionet=();nonce=%"caf%c3%a9"',
            "trionet=();created=@1800003600",
            "trionet=();keyid=1.5;alg;tag;nonce;created",
        ),
    ],
    ids=lambda text: f"{text!r:.40}",
)
def test_a_malformed_signature_input_is_refused(text: str) -> None:
    refused(with_header(signed(), "Signature-Input", lambda _: text))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("created=1800003600", "created=1800003601"),
        ('("@method" ', '("@method"  '),
        (";nonce", "; nonce"),
        ("created=1800003600", "created=1800003600;created=1800003600"),
        ('tag="trionet-request"', 'tag="trionet-response"'),
        ('alg="hmac-sha256"', 'alg="hmac-sha512"'),
        ('alg="hmac-sha256"', "expires=1900003600"),
    ],
)
def test_a_member_that_signs_another_form_is_refused(old: str, new: str) -> None:
    request = signed()
    params = request.component("signature-input").removeprefix("trionet=").replace(old, new)
    names = re.findall(r'"([^"]*)"', params.partition(")")[0])
    mac = hmac.digest(KEYS.http_key, signature_base(request, names, params), "sha256")
    changed = with_header(request, "Signature-Input", lambda _: f"trionet={params}")
    changed = with_header(changed, "Signature", lambda _: f"trionet=:{base64.b64encode(mac).decode()}:")
    assert "forged" not in refused(changed).reason


def test_a_request_that_can_not_be_signed_is_an_error_of_the_sender() -> None:
    for headers in ([("Trionet-A", "1"), ("trionet-a", "2")], [("Trionet-A", "a\nb")], [("Accept", "caf\u00e9")]):
        with pytest.raises(ComponentError):
            sign_request(dataclasses.replace(REQUEST, headers=headers), BODY, KEYS, NOW, bytes(16))


def test_a_verifier_has_derived_keys_alone() -> None:
    with pytest.raises(ConfigError, match="DerivedKeys"):
        verifier(keys={b"1234": key_of(1)})


_names = st.sampled_from(["Trionet-A", "Trionet-B", "Accept", "Content-Type", "Content-Encoding", "Date", "X-Y"])
_values = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)


@given(
    st.dictionaries(_names, _values),
    st.sampled_from(["GET", "PUT", "POST"]),
    st.text("abc/%2F.-_~", max_size=20),
    st.none() | st.text("abc=&?/%20", max_size=20),
    st.binary(max_size=50),
)
def test_any_request_is_verified_as_it_was_signed(
    headers: dict[str, str], method: str, path: str, query: str | None, body: bytes
) -> None:
    target = f"/{path}" if query is None else f"/{path}?{query}"
    request = HttpRequest(list(headers.items()), method=method, authority="10.0.0.1:8080", target=target)
    added = sign_request(request, body, KEYS, NOW, bytes(16))
    received = dataclasses.replace(request, headers=[*added.headers, *reversed(request.headers)])
    found = verifier().verify(received, NOW)
    found.check_body(body)
    assert found == VerifiedRequest(KEYS.key_id, added.nonce, added.headers[0][1])


def fuzz(seed: int, receiver: RequestVerifier, request: HttpRequest) -> None:
    """Check that a random change of the signature's headers is refused."""
    rng = random.Random(seed)
    name = rng.choice(["Signature-Input", "Signature-Input", "Signature", "Content-Digest"])
    pieces = ['"@method"', ";req", "(", ")", ";", "=", ":", '"', ",", " ", "\t", "trionet", "1", "?1", "@", "\\", "%"]

    def change(value: str) -> str:
        for _ in range(rng.randint(1, 4)):
            place = rng.randrange(len(value) + 1)
            end = place + rng.choice([0, 1, rng.randint(0, 40)])
            value = value[:place] + rng.choice([*pieces, chr(rng.randrange(300)), ""]) + value[end:]
        return value

    changed = with_header(request, name, change)
    if [(key, value.strip(" \t")) for key, value in changed.headers] == request.headers:
        return
    refused(changed, by=receiver)


def test_changed_signatures_are_refused() -> None:
    receiver, request = verifier(), signed()
    for seed in range(1000):
        fuzz(seed, receiver, request)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_changed_signatures_are_refused() -> None:
    receiver, request = verifier(), signed()
    fuzz(0, receiver, request)
    with no_growth():
        for seed in range(1, 1_000_000):
            fuzz(seed, receiver, request)
