"""What a signature covers, against the examples of RFC 9421, RFC 9530 and RFC 9651."""

from __future__ import annotations

import base64
import dataclasses
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trionet.security.signature_base import (
    ComponentError,
    HttpRequest,
    HttpResponse,
    content_digest,
    normalized_authority,
    signature_base,
    signature_params,
)

BODY = b'{"hello": "world"}'
TEST_REQUEST = HttpRequest(
    [
        ("Host", "example.com"),
        ("Date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("Content-Type", "application/json"),
        ("Content-Length", "18"),
    ],
    method="POST",
    authority="example.com",
    target="/foo?param=Value&Pet=dog",
)
"""The request of RFC 9421, appendix B.2."""

SHARED_SECRET = base64.b64decode(
    "uzvJfB4u3N0Jy4T7NZ75MDVcr8zSTInedJtkgcu46YW4XByzNJjxBdtjUkdJPBtbmHhIDi6pcl8jsasjlTMtDQ=="
)
"""The key test-shared-secret of RFC 9421, appendix B.1.5."""


def test_the_example_of_rfc_9421_with_hmac_sha256_has_its_signature() -> None:
    """Appendix B.2.5."""
    covered = ["date", "@authority", "content-type"]
    params = signature_params(covered, {"created": 1618884473, "keyid": "test-shared-secret"})
    assert params == '("date" "@authority" "content-type");created=1618884473;keyid="test-shared-secret"'
    base = signature_base(TEST_REQUEST, covered, params)
    assert base.decode().splitlines() == [
        '"date": Tue, 20 Apr 2021 02:07:55 GMT',
        '"@authority": example.com',
        '"content-type": application/json',
        f'"@signature-params": {params}',
    ]
    signature = base64.b64encode(hmac.digest(SHARED_SECRET, base, "sha256"))
    assert signature == b"pxcQw6G3AjtMBQjwo8XzkZf/bws5LelbaMk5rGIGtE8="


def test_derived_components_are_those_of_rfc_9421() -> None:
    """Section 2.2."""
    derived = ("@method", "@authority", "@path", "@query")
    assert [TEST_REQUEST.component(name) for name in derived] == ["POST", "example.com", "/foo", "?param=Value&Pet=dog"]
    plain = dataclasses.replace(TEST_REQUEST, target="/path")
    assert [plain.component(name) for name in ("@path", "@query")] == ["/path", "?"]
    assert dataclasses.replace(TEST_REQUEST, target="/path?").component("@query") == "?"
    assert dataclasses.replace(TEST_REQUEST, target="/a%2Fb?x=%20?y").component("@query") == "?x=%20?y"
    assert HttpResponse([], status=200).component("@status") == "200"


@pytest.mark.parametrize(
    ("host", "scheme", "expected"),
    [
        ("www.EXAMPLE.com:80", "http", "www.example.com"),
        ("www.example.com:443", "https", "www.example.com"),
        ("www.example.com:443", "http", "www.example.com:443"),
        ("[::1]:8080", "http", "[::1]:8080"),
        (" a ", "http", "a"),
    ],
)
def test_an_authority_is_normalized(host: str, scheme: str, expected: str) -> None:
    assert normalized_authority(host, scheme) == expected


def test_a_field_is_trimmed() -> None:
    """RFC 9421, section 2.1."""
    request = dataclasses.replace(
        TEST_REQUEST, headers=[("X-OWS-Header", " Leading and trailing whitespace.  \t"), ("e", "")]
    )
    assert request.component("x-ows-header") == "Leading and trailing whitespace."
    assert request.component("e") == ""


def test_a_digest_is_that_of_rfc_9530() -> None:
    """Appendix B.1, and RFC 9421, appendix B.2."""
    assert content_digest(b'{"hello": "world"}\n') == "sha-256=:RK/0qy18MlBSVnWgjwz6lZEWjP/lF5HF9bvEF8FabDg=:"
    assert content_digest(BODY) == "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:"


@pytest.mark.parametrize(
    ("headers", "name"),
    [
        ([], "date"),
        ([("date", "a"), ("Date", "b")], "date"),
        ([("date", "a"), ("DATE", "a")], "date"),
        ([("date", 'a\n"@method": GET')], "date"),
        ([("date", "a\rb")], "date"),
        ([("date", "a\0")], "date"),
        ([("date", "caf\u00e9")], "date"),
        ([("date", "\u2028")], "date"),
        ([("date", "a\x7f")], "date"),
        ([("date", "\x0ba")], "date"),
        ([], "@status"),
        ([], "@query-param"),
        ([], "@target-uri"),
        ([], "@"),
        ([], "@signature-params"),
        ([], ""),
    ],
)
def test_a_component_that_is_missing_ambiguous_or_strange_is_refused(headers: list[tuple[str, str]], name: str) -> None:
    with pytest.raises(ComponentError):
        dataclasses.replace(TEST_REQUEST, headers=headers).component(name)


@pytest.mark.parametrize(
    "change",
    [
        *({"method": "GET\n"}, {"method": "G\u00c9T"}, {"authority": "a\nb"}, {"target": ""}, {"target": "*"}),
        *({"target": "http://a/b"}, {"target": "/a b"}, {"target": "/a#b"}, {"target": "/a\n"}, {"target": "/?\u00e9"}),
        {"target": "?a"},
    ],
    ids=str,
)
def test_a_strange_request_line_is_refused(change: dict[str, str]) -> None:
    request = dataclasses.replace(TEST_REQUEST, **change)  # type: ignore[arg-type]  # all of these are texts
    with pytest.raises(ComponentError):
        signature_base(request, ["@method", "@authority", "@path", "@query"], "()")


@pytest.mark.parametrize("status", [0, 99, 600, -1])
def test_a_strange_status_is_refused(status: int) -> None:
    with pytest.raises(ComponentError):
        HttpResponse([], status=status).component("@status")
    with pytest.raises(ComponentError):
        HttpResponse([], status=200).component("@method")


@given(
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(), min_size=1),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.text(), min_size=1),
)
def test_two_messages_have_one_base_only_if_they_have_the_same_values(
    one: dict[str, str], other: dict[str, str]
) -> None:
    bases = []
    for fields in (one, other):
        message = HttpResponse(list(fields.items()), status=200)
        try:
            names = sorted(fields)
            bases.append(
                (
                    signature_base(message, names, signature_params(names, {})),
                    {key: value.strip(" \t") for key, value in fields.items()},
                )
            )
        except ComponentError:
            return
    assert (bases[0][0] == bases[1][0]) == (bases[0][1] == bases[1][1])
