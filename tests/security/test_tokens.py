"""Bearer tokens: what they say, and that no other text is one."""

from __future__ import annotations

import hmac
import math
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.growth import no_growth
from tests.security.keys import key_of, shown_in
from trionet import ConfigError, NotPermitted
from trionet.errors import error_to_wire
from trionet.security.base64url import from_text, to_text
from trionet.security.keys import derive
from trionet.security.refusals import RequestRefused
from trionet.security.token_scope import Scope
from trionet.security.tokens import (
    CLOCKS_DIFFER_S,
    MAX_LIFETIME_S,
    MAX_TOKEN_CHARS,
    TOKEN_PREFIX,
    TokenVerifier,
    bearer_token,
    issue_token,
)

NOW = 1_800_000_000
SHOP, OTHER = derive(key_of(1), "shop"), derive(key_of(1), "other")
OLD = derive(key_of(2), "shop")
VERIFIER = TokenVerifier("shop", {SHOP.key_id: SHOP, OLD.key_id: OLD}, {OLD.key_id})
TOKEN = issue_token(SHOP, Scope.CALL, NOW, 600)


def refused(text: Any, now_s: float = NOW, needed: Scope = Scope.READ, by: TokenVerifier = VERIFIER) -> RequestRefused:
    """Return the refusal of a token."""
    with pytest.raises(RequestRefused) as caught:
        by.verify(text, now_s, needed)
    assert text not in caught.value.reason or len(text) < 20
    assert not shown_in(f"{caught.value} {caught.value.reason}", [SHOP.token_key, OLD.token_key])
    assert len(caught.value.reason) < 150
    return caught.value


@given(
    st.sampled_from(Scope),
    st.floats(0, 2**40),
    st.integers(1, MAX_LIFETIME_S),
    st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fullmatch=True),
)
def test_a_token_says_what_it_was_made_with(scope: Scope, now_s: float, lifetime_s: int, cluster: str) -> None:
    keys = derive(key_of(1), cluster)
    text = issue_token(keys, scope, now_s, lifetime_s)
    token = TokenVerifier(cluster, {keys.key_id: keys}).verify(text, now_s, Scope.READ)
    assert (token.key_id, token.cluster, token.scope) == (keys.key_id, cluster, scope)
    assert (token.issued_s, token.expires_s) == (int(now_s), int(now_s) + lifetime_s)
    assert len(text) <= MAX_TOKEN_CHARS


def test_a_token_is_one_word_that_scanners_find_and_a_header_can_carry() -> None:
    assert TOKEN.startswith("trionet-token-v1.")
    assert TOKEN.replace(".", "").replace("-", "").replace("_", "").isalnum()
    assert TOKEN.isascii()


@pytest.mark.parametrize(("held", "needed"), [(held, needed) for held in Scope for needed in Scope])
def test_a_scope_includes_the_smaller_ones(held: Scope, needed: Scope) -> None:
    text = issue_token(SHOP, held, NOW)
    if held >= needed:
        assert VERIFIER.verify(text, NOW, needed).scope is held
    else:
        refusal = refused(text, needed=needed)
        assert refusal.status == 403
        assert str(refusal) == f"this needs a token with the scope {needed.name.lower()}"
        assert f"has the scope {held.name.lower()}, not {needed.name.lower()}" in refusal.reason


def test_a_token_is_valid_from_its_issue_until_it_expires() -> None:
    for now_s in (NOW - CLOCKS_DIFFER_S, NOW, NOW + 599.9):
        assert VERIFIER.verify(TOKEN, now_s, Scope.CALL).expires_s == NOW + 600
    assert "expired 0 s ago" in refused(TOKEN, NOW + 600).reason
    assert "expired 86400 s ago" in refused(TOKEN, NOW + 600 + 86_400).reason
    assert "from the future: do the clocks differ?" in refused(TOKEN, NOW - CLOCKS_DIFFER_S - 1).reason
    assert refused(TOKEN, math.nan).status == 401


def test_each_refusal_has_its_reason_and_all_have_one_answer() -> None:
    forged = TOKEN[:-4] + ("AAAA" if not TOKEN.endswith("AAAA") else "BBBB")
    unknown = derive(key_of(3), "shop")
    refusals = {
        "forged or damaged": refused(forged),
        "of another cluster": refused(issue_token(OTHER, Scope.ADMIN, NOW)),
        f"the key {unknown.key_id.hex()} of the token is unknown": refused(issue_token(unknown, Scope.ADMIN, NOW)),
        f"the key {OLD.key_id.hex()} of the token is retired": refused(issue_token(OLD, Scope.ADMIN, NOW)),
        "has expired": refused(TOKEN, NOW + 10_000),
        "from the future": refused(TOKEN, 0),
        "is malformed": refused("hunter2"),
        "too long": refused(TOKEN_PREFIX + "A" * MAX_TOKEN_CHARS),
    }
    for reason, refusal in refusals.items():
        assert reason in refusal.reason
    assert {(refusal.status, str(refusal)) for refusal in refusals.values()} == {(401, str(refused("")))}
    assert "trionet keys token --key-file FILE" in str(refused(""))


def test_a_refusal_travels_without_its_reason() -> None:
    refusal = refused("hunter2")
    assert isinstance(refusal, NotPermitted)
    assert "malformed" not in str(error_to_wire(refusal))


def test_a_token_with_any_bit_flipped_is_refused() -> None:
    data = from_text(TOKEN.removeprefix(TOKEN_PREFIX))
    assert data is not None
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        assert refused(TOKEN_PREFIX + to_text(bytes(changed)), needed=Scope.READ).status == 401
    for place in range(len(TOKEN)):
        for bit in range(8):
            changed_text = TOKEN[:place] + chr(ord(TOKEN[place]) ^ 1 << bit) + TOKEN[place + 1 :]
            assert refused(changed_text).status == 401


@pytest.mark.parametrize(
    "wrong",
    [
        *(None, 5, b"x", TOKEN.encode(), [TOKEN], {}, "", " ", TOKEN + " ", TOKEN + "=", TOKEN + "\n", " " + TOKEN),
        *(TOKEN[:-1], TOKEN + "A", TOKEN * 2, TOKEN.lower(), TOKEN_PREFIX, TOKEN_PREFIX + "\ud800", "x" * 10_000_000),
        *(TOKEN.replace("v1", "v2"), TOKEN.removeprefix(TOKEN_PREFIX), f"Bearer {TOKEN}", TOKEN_PREFIX + "A" * 70),
    ],
    ids=lambda wrong: f"{wrong!r:.60}",
)
def test_what_is_no_token_is_refused(wrong: Any) -> None:
    with pytest.raises(RequestRefused) as caught:
        VERIFIER.verify(wrong, NOW, Scope.READ)
    assert caught.value.status == 401


def signed(payload: bytes) -> str:
    """Return a token with an authentic payload of any form."""
    mac = hmac.digest(SHOP.token_key, TOKEN_PREFIX.encode() + payload, "sha256")
    return TOKEN_PREFIX + to_text(payload + mac)


def test_an_authentic_token_of_another_version_is_refused() -> None:
    def payload(scope: int = 1, issued_s: int = NOW, expires_s: int = NOW + 9, cluster: bytes = b"shop") -> bytes:
        return struct.pack(">4sBQQ", SHOP.key_id, scope, issued_s, expires_s) + cluster

    assert VERIFIER.verify(signed(payload()), NOW, Scope.READ).scope is Scope.READ
    for other in (
        payload(scope=0),
        payload(scope=4),
        payload(scope=255),
        payload(expires_s=NOW),
        payload(expires_s=NOW - 1),
        payload(expires_s=NOW + MAX_LIFETIME_S + 1),
        payload(expires_s=2**64 - 1),
        payload(cluster=b"shop2"),
        payload(cluster=b"\xff"),
    ):
        assert "another version of trionet" in refused(signed(other)).reason


@pytest.mark.parametrize(
    "change",
    [
        *({"keys": None}, {"keys": key_of(1)}, {"scope": 1}, {"scope": "read"}, {"scope": None}, {"now_s": -1}),
        *({"now_s": math.nan}, {"now_s": "5"}, {"now_s": 2.0**60}, {"lifetime_s": 0}, {"lifetime_s": -5}),
        *({"lifetime_s": MAX_LIFETIME_S + 1}, {"lifetime_s": math.inf}, {"lifetime_s": math.nan}, {"lifetime_s": True}),
        *({"lifetime_s": "600"}, {"lifetime_s": 10**400}),
    ],
    ids=str,
)
def test_a_token_of_wrong_parts_is_not_made(change: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        issue_token(**{"keys": SHOP, "scope": Scope.READ, "now_s": NOW, **change})


def test_a_verifier_has_keys_of_its_cluster_alone() -> None:
    wrong: list[Any] = [{OTHER.key_id: OTHER}, {b"1234": key_of(1)}, {b"1234": None}]
    for keys in wrong:
        with pytest.raises(ConfigError):
            TokenVerifier("shop", keys)
    with pytest.raises(ConfigError, match="cluster"):
        TokenVerifier("Shop", {})


@pytest.mark.parametrize("name", ["", "READ", "Read", "root", "read ", None, 1, Scope.READ, b"read", ["read"]])
def test_a_scope_has_a_name(name: Any) -> None:
    with pytest.raises(ConfigError, match="a scope is read, call or admin"):
        Scope.of(name)
    assert [Scope.of(each) for each in ("read", "call", "admin")] == list(Scope)


@pytest.mark.parametrize("header", ["Bearer abc", "bearer abc", "BEARER  abc"])
def test_the_token_stands_in_the_header(header: str) -> None:
    assert bearer_token([header]) == "abc"


@pytest.mark.parametrize(
    "headers", [[], [""], ["Bearer"], ["Bearer "], ["abc"], ["Basic abc"], ["Bearer\tabc"], ["Bearer a"] * 2, [TOKEN]]
)
def test_a_header_without_one_token_is_refused_with_the_same_answer(headers: list[str]) -> None:
    with pytest.raises(RequestRefused) as caught:
        bearer_token(headers)
    assert (caught.value.status, str(caught.value)) == (401, str(refused("")))
    assert TOKEN not in caught.value.reason


def fuzz(seed: int) -> None:
    """Check that a random change of a token is refused."""
    rng = random.Random(seed)
    data = bytearray(TOKEN.encode())
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(data) + 1)
        match rng.randrange(4):
            case 0:
                data[place : place + 1] = bytes([rng.randrange(256)])
            case 1:
                del data[place : place + rng.randint(1, 20)]
            case 2:
                data[place:place] = rng.randbytes(rng.randint(1, 20))
            case 3:
                data[place:place] = data[rng.randrange(len(data) + 1) :][:20]
    text = data.decode("latin-1")
    if text == TOKEN:
        return
    with pytest.raises(RequestRefused):
        VERIFIER.verify(text, NOW, Scope.READ)


def test_changed_tokens_are_refused() -> None:
    for seed in range(1000):
        fuzz(seed)


@pytest.mark.soak
@pytest.mark.timeout(1800)
def test_many_changed_tokens_are_refused() -> None:
    fuzz(0)
    with no_growth():
        for seed in range(1, 1_000_000):
            fuzz(seed)
