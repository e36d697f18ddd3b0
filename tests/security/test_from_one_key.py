"""From a key file to sealed links and datagrams; and nothing on that way is copied."""

from __future__ import annotations

import copy
import pickle
import random
from typing import TYPE_CHECKING

import pytest

from tests.security.keys import key_of, shown_in
from tests.security.sealed_nodes import Peer
from trionet import EncodeError
from trionet.security.cookies import Cookies
from trionet.security.datagram_keys import DatagramKeys
from trionet.security.key_entries import KeyFile
from trionet.security.key_records import KeyRecords
from trionet.security.key_ring import KeyRing
from trionet.security.keys import DerivedKeys, derive
from trionet.security.lives import Life, Lives
from trionet.security.noise_key import NoiseKey

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = key_of(1)


def derived_keys(cluster: str) -> list[DerivedKeys]:
    """Return what a node derives that starts with a key file of two keys."""
    ring = KeyRing("me:1", KeyRecords.of(KeyFile.parse(f"{KEY.reveal()} used\n{key_of(2).reveal()} installed\n")))
    assert ring.keys.sealing == KEY.id
    return [derive(ring.keys.key(key_id), cluster) for key_id in ring.keys.opening]


def peer(name: str, cluster: str) -> Peer:
    keys = DatagramKeys.of(derived_keys(cluster), KEY.id)
    return Peer(name, random.Random(name), keys=keys, cluster=cluster)


@pytest.mark.parametrize(("cluster", "is_one"), [("shop", True), ("shop-2", False)])
def test_nodes_of_one_key_and_one_cluster_open_each_others_datagrams(cluster: str, *, is_one: bool) -> None:
    one, other = peer("one", "shop"), peer("other", cluster)
    assert (other.open(one.seal("other", "hello"), "one").answer is not None) == is_one


@pytest.mark.parametrize(("cluster", "is_one"), [("shop", True), ("shop-2", False)])
def test_links_of_one_key_and_one_cluster_have_one_psk(cluster: str, *, is_one: bool) -> None:
    keys = [NoiseKey.of(derived_keys(name)[0], random.Random(7).randbytes) for name in ("shop", cluster)]
    first, second = (key.new_channel(b"", is_initiator=True).data_to_send() for key in keys)
    assert keys[0].seal == keys[1].seal == b"\x01" + KEY.id
    assert (first == second) == is_one


@pytest.mark.parametrize("copied", [pickle.dumps, copy.copy, copy.deepcopy])
def test_nothing_that_holds_keys_or_ciphers_is_copied(copied: Callable[[object], object]) -> None:
    one, secret = peer("one", "shop"), b"a secret of cookies, 32 bytes....."
    things = [one.sealer, one.sealer.keys, one.opener, Cookies(secret), Life(1, 1), Lives()]
    for thing in things:
        with pytest.raises(EncodeError, match="holds key material"):
            copied(thing)
        assert not hasattr(thing, "__dict__")
        assert not shown_in(repr(thing), [secret, derive(KEY, "shop").datagram_key])
