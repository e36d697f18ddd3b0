"""Keys: their text, what is derived from them, and that nothing shows them."""

from __future__ import annotations

import copy
import hashlib
import hmac
import json
import logging
import pickle
import pprint
import random
import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.security.keys import forms_of, key_of, report_of, shown_in
from trionet import ConfigError, EncodeError, NodeConfig, TrionetError
from trionet.codec import JSON, MESSAGEPACK
from trionet.identity import check_cluster
from trionet.key_texts import KEY_PREFIX, holds_key_text
from trionet.security.base64url import from_text, to_text
from trionet.security.keys import KEY_BYTES, ClusterKey, DerivedKeys, derive

SECRET = random.Random(1).randbytes(KEY_BYTES)
KEY = ClusterKey(SECRET)
TEXT = KEY.reveal()
_secrets = st.integers().map(lambda seed: random.Random(seed).randbytes(KEY_BYTES))


def wrong_texts() -> list[Any]:
    body = TEXT.removeprefix(KEY_PREFIX)
    swapped = body[:10] + ("B" if body[10] == "A" else "A") + body[11:]
    as_words = to_text(b"correct horse battery staple, 32" + b"1234")
    return [
        *("", "a", "correct horse battery staple", "hunter2" * 9, body, body + TEXT, TEXT[:-1], TEXT + "A", TEXT * 2),
        *(
            KEY_PREFIX + "A",
            KEY_PREFIX + swapped,
            KEY_PREFIX + body.lower(),
            KEY_PREFIX + body[::-1],
            KEY_PREFIX + "=" * 48,
        ),
        *(
            f" {TEXT}",
            f"{TEXT} ",
            f"{TEXT}\n",
            f"{TEXT}\r\n",
            f"\ufeff{TEXT}",
            f"{TEXT}\0",
            f"{TEXT}\u200b",
            f"\n{TEXT}",
        ),
        *(TEXT.replace(body, f"{body[:24]} {body[24:]}"), TEXT.replace(body, f"{body[:24]}\n{body[24:]}")),
        *(TEXT.replace(":", ": "), TEXT.replace("v1", "v2"), TEXT.replace("v1", "v99"), TEXT.upper(), f'"{TEXT}"'),
        *(KEY_PREFIX + "\u0410" * 48, KEY_PREFIX + "\ud800" * 48, KEY_PREFIX + "+/" * 24, KEY_PREFIX + as_words),
        *(KEY_PREFIX + to_text(SECRET), KEY_PREFIX + SECRET.hex(), f"export TRIONET_KEY={TEXT}", TEXT.encode()),
        *(None, 5, 5.0, True, [TEXT], {TEXT: 1}, SECRET, bytearray(SECRET), KEY, object, NodeConfig()),
    ]


@given(_secrets)
def test_the_text_of_a_key_is_one_line_that_scanners_find_and_gives_the_key_back(secret: bytes) -> None:
    key = ClusterKey(secret)
    assert re.fullmatch(r"trionet-key-v1:[A-Za-z0-9_-]{48}", key.reveal())
    assert ClusterKey.parse(key.reveal()) == key
    assert ClusterKey.parse(key.reveal()).reveal() == key.reveal()


@pytest.mark.parametrize("number", range(len(wrong_texts())))
def test_what_is_no_key_is_refused_with_a_text_that_does_not_quote_it(number: int) -> None:
    text = wrong_texts()[number]
    with pytest.raises(ConfigError) as caught:
        ClusterKey.parse(text)
    report = report_of(caught.value)
    assert not shown_in(report, [SECRET])
    for part in [text] if isinstance(text, str) else []:
        assert len(part) < 8 or part[-24:] not in caught.value.text
        assert len(part) < 20 or part[16:40] not in report
    assert caught.value.__cause__ is None
    assert len(caught.value.text) < 250


def test_each_refusal_says_what_to_do() -> None:
    for text, advice in {
        "correct horse battery staple": "passphrases are refused.*trionet keys new FILE",
        f"{TEXT}\n": "one line without spaces, line ends",
        TEXT[:-1]: "48 characters.*not 47: copy it whole",
        TEXT.replace("v1", "v2"): "another version.*update trionet",
        TEXT[:-1] + ("A" if TEXT[-1] != "A" else "B"): "checksum differs.*copy it again",
    }.items():
        with pytest.raises(ConfigError, match=advice):
            ClusterKey.parse(text)


@pytest.mark.parametrize("place", range(len(KEY_PREFIX), len(TEXT)))
def test_a_text_with_one_other_character_is_no_key(place: int) -> None:
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for char in alphabet.replace(TEXT[place], ""):
        with pytest.raises(ConfigError):
            ClusterKey.parse(TEXT[:place] + char + TEXT[place + 1 :])


@given(st.text())
def test_any_text_is_refused(text: str) -> None:
    for candidate in (text, KEY_PREFIX + text):
        with pytest.raises(ConfigError):
            ClusterKey.parse(candidate)


@pytest.mark.parametrize(
    "secret",
    [b"", SECRET[:31], SECRET + b"x", b"\0" * 32, b"ab" * 16, b"correct horse battery staple, 32", bytearray(SECRET)],
)
def test_bytes_that_are_not_32_random_ones_make_no_key(secret: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        ClusterKey(secret)
    assert not shown_in(report_of(caught.value), [bytes(secret)] if len(secret) > 30 else [])


@pytest.mark.parametrize("secret", [None, 5, "x" * 32, memoryview(SECRET), [1] * 32, KEY])
def test_a_key_is_made_of_bytes_alone(secret: Any) -> None:
    with pytest.raises(ConfigError, match="is made of bytes"):
        ClusterKey(secret)


def hkdf(secret: bytes, info: bytes, length: int) -> bytes:
    """HKDF-SHA256 of RFC 5869 with one block of output and no salt, written anew."""
    extracted = hmac.digest(bytes(32), secret, hashlib.sha256)
    return hmac.digest(extracted, info + b"\x01", hashlib.sha256)[:length]


@given(_secrets, st.from_regex(r"[a-z0-9]([a-z0-9._-]{0,61}[a-z0-9])?", fullmatch=True))
def test_derived_keys_are_those_of_rfc_5869(secret: bytes, cluster: str) -> None:
    key = ClusterKey(secret)
    keys = derive(key, cluster)
    assert (key.id, keys.key_id) == (hkdf(secret, b"trionet v1: key_id", 4),) * 2
    for purpose in ("link_psk", "datagram_key", "token_key", "http_key", "code_key"):
        info = f"trionet v1: {purpose} of {cluster}".encode()
        assert getattr(keys, purpose) == hkdf(secret, info, 32)


def test_each_purpose_each_cluster_and_each_key_has_a_derived_key_of_its_own() -> None:
    purposes = ("link_psk", "datagram_key", "token_key", "http_key", "code_key")
    found = [
        getattr(derive(key_of(seed), cluster), purpose)
        for seed in range(5)
        for cluster in ("a", "b", "a.b", "trionet")
        for purpose in purposes
    ]
    assert len(set(found)) == len(found) == 100
    assert {len(each) for each in found} == {32}


def test_the_key_id_does_not_depend_on_the_cluster() -> None:
    assert {derive(KEY, "a").key_id, derive(KEY, "b").key_id} == {KEY.id}
    assert KEY.name == KEY.id.hex() == derive(KEY, "a").key_id.hex()


def test_known_keys_stay_what_they_are() -> None:
    """Other versions of trionet must derive the same."""
    key = ClusterKey(bytes(range(100, 132)))
    assert key.reveal() == "trionet-key-v1:ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1-f4CBgoMUFeky"
    assert key.name == "a31aea54"


@pytest.mark.parametrize("key", [None, TEXT, SECRET, 5])
def test_keys_are_derived_from_a_key_alone(key: Any) -> None:
    with pytest.raises(ConfigError, match="from a ClusterKey") as caught:
        derive(key, "shop")
    assert not shown_in(caught.value.text, [SECRET])


@pytest.mark.parametrize(
    "cluster",
    [
        "",
        "Shop",
        "a b",
        "a/b",
        ".a",
        "a.",
        "-a",
        "a-",
        "_a",
        "x" * 64,
        "caf\u00e9",
        "a\n",
        "a\0",
        TEXT,
        None,
        5,
        b"a",
        ["a"],
    ],
)
def test_a_cluster_has_a_name_that_a_spiffe_id_can_hold(cluster: Any) -> None:
    for refuse in (check_cluster, lambda name: derive(KEY, name), lambda name: NodeConfig(cluster=name)):
        with pytest.raises(ConfigError, match="cluster") as caught:
            refuse(cluster)
        assert not shown_in(caught.value.text, [SECRET])


def test_keys_are_equal_if_their_secrets_are() -> None:
    assert ClusterKey(SECRET) == KEY
    assert hash(ClusterKey(SECRET)) == hash(KEY)
    assert key_of(2) != KEY
    other: Any = TEXT
    assert other != KEY
    assert len({KEY, ClusterKey(SECRET), key_of(2)}) == 2


def test_a_key_can_not_be_changed() -> None:
    for thing in (KEY, derive(KEY, "shop")):
        for name in ("id", "_secret", "link_psk", "new"):
            with pytest.raises(AttributeError):
                setattr(thing, name, b"")
            with pytest.raises(AttributeError):
                delattr(thing, name)
    assert (copy.copy(KEY), copy.deepcopy([KEY])) == (KEY, [KEY])


@pytest.mark.parametrize("thing", [KEY, derive(KEY, "shop")], ids=["key", "derived"])
def test_no_representation_shows_key_material(thing: Any) -> None:
    derived = derive(KEY, "shop")
    secrets = [SECRET, derived.link_psk, derived.datagram_key, derived.token_key, derived.http_key, derived.code_key]
    record = logging.LogRecord("a", 1, "a", 1, "%s %r", (thing, thing), None)
    texts = [
        *(repr(thing), str(thing), f"{thing}", f"{thing:>100}", f"{thing!r}", "%s %r" % (thing, thing)),  # noqa: UP031
        *(pprint.pformat({"key": thing}), record.getMessage(), str([thing]), str({thing.__class__: thing})),
        *(str(getattr(thing, "__dict__", "")), str(TrionetError("it", node=thing)), str(ValueError(thing))),
    ]
    assert [text for text in texts if shown_in(text, secrets)] == []
    assert all(KEY.name in text for text in texts[:7])


@pytest.mark.parametrize("thing", [KEY, derive(KEY, "shop")], ids=["key", "derived"])
def test_no_encoder_carries_key_material(thing: Any) -> None:
    derived = derive(KEY, "shop")
    secrets = [SECRET, derived.link_psk, derived.datagram_key, derived.token_key, derived.http_key, derived.code_key]
    encoders: list[Any] = [
        *(pickle.dumps, JSON.encode, MESSAGEPACK.encode, msgspec.json.encode, msgspec.msgpack.encode, json.dumps),
        *(vars, msgspec.to_builtins, msgspec.structs.asdict, lambda it: it.__reduce__(), lambda it: it.__getstate__()),
        *(lambda it: JSON.encode([{"a": it}]), lambda it: pickle.dumps(it, protocol=0)),
    ]
    for encode in encoders:
        with pytest.raises((EncodeError, TypeError)) as caught:
            encode(thing)
        assert not shown_in(str(caught.value), secrets)


def test_a_class_that_holds_secrets_has_no_dict_of_them() -> None:
    from trionet.security.holds_secrets import HoldsSecrets

    with pytest.raises(TypeError, match="__slots__"):
        type("Careless", (HoldsSecrets,), {})
    assert not hasattr(KEY, "__dict__")
    assert not hasattr(derive(KEY, "shop"), "__dict__")


def test_secrets_would_be_noticed() -> None:
    assert shown_in(f"the key is {SECRET!r}", [SECRET])
    assert shown_in(TEXT, [SECRET])
    assert all(len(form) == 20 for form in forms_of(SECRET))


@pytest.mark.parametrize("setting", [field.name for field in msgspec.structs.fields(NodeConfig)])
def test_a_key_in_any_setting_is_refused_without_being_quoted(setting: str) -> None:
    values: list[Any] = [TEXT, TEXT.encode(), f"key={TEXT}", bytearray(TEXT.encode()), KEY, derive(KEY, "shop")]
    for value in values:
        with pytest.raises(ConfigError) as refused:
            NodeConfig(**{setting: value})
        assert not shown_in(refused.value.text, [SECRET])
    for text in (TEXT, f"[{TEXT}]"):
        with pytest.raises(ConfigError) as caught:
            NodeConfig.from_mapping(NodeConfig.settings_from_environment({f"TRIONET_{setting.upper()}": text}))
        assert not shown_in(caught.value.text, [SECRET])


def test_a_configuration_names_the_file_of_the_key_and_the_cluster() -> None:
    config = NodeConfig(key_file="/etc/trionet.key", cluster="shop-1.example")
    assert (config.key_file, config.cluster) == ("/etc/trionet.key", "shop-1.example")
    assert (NodeConfig().key_file, NodeConfig().cluster) == (None, "trionet")
    assert JSON.decode(JSON.encode(config.portable())) == config
    assert NodeConfig.settings_from_environment({"TRIONET_KEY_FILE": "k", "TRIONET_CLUSTER": "5"}) == {
        "key_file": "k",
        "cluster": "5",
    }
    assert NodeConfig.settings_from_environment({"TRIONET_KEY": TEXT}) == {}


def test_a_key_is_recognised_in_texts_and_bytes_of_any_version() -> None:
    for value in (TEXT, TEXT.encode(), f"--key={TEXT}", bytearray(TEXT.encode()), "trionet-key-v22:"):
        assert holds_key_text(value)
    others: list[Any] = ["", "trionet-key", b"trionet", 5, None, [TEXT], KEY]
    assert not any(map(holds_key_text, others))


@given(st.binary(max_size=40))
def test_base64url_has_one_text_for_each_value(data: bytes) -> None:
    text = to_text(data)
    assert from_text(text) == data
    for place, char in enumerate(text):
        for other in (chr(ord(char) ^ 1), chr(ord(char) ^ 2), "=", "+", " ", "\u00e9"):
            changed = text[:place] + other + text[place + 1 :]
            assert changed == text or from_text(changed) != data
    for changed in (f"{text}=", f"{text}\n", f" {text}", f"{text}A"):
        assert from_text(changed) != data


def test_trionet_is_imported_without_the_packages_of_the_extra() -> None:
    program = (
        "import sys, trionet, trionet.cli.node, trionet.cli.keys\n"
        "print([name for name in ('cryptography', 'http_sf') if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_without_cryptography_a_key_says_what_to_install() -> None:
    program = (
        "import sys; sys.modules['cryptography'] = None\n"
        "from trionet.security.keys import ClusterKey\n"
        "try: ClusterKey(bytes(range(100, 132)))\n"
        "except Exception as exc: print(type(exc).__name__, exc)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == (
        "ConfigError keys need the package cryptography, an extra of trionet: pip install 'trionet[secure]'\n"
    )


def test_derived_keys_are_of_one_type() -> None:
    assert type(derive(KEY, "shop")) is DerivedKeys
    assert repr(derive(KEY, "shop")) == f"<DerivedKeys {KEY.name} of 'shop'>"
