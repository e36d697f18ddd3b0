import hashlib
import re
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from tests.node_processes import ROOT, clean_environment
from tests.samples import COLLIDING
from trionet import ConfigError, MalformedRequest, NodeAddress, NodeConfig, SIDCollision
from trionet.identity import (
    check_gid,
    check_name,
    checked_destination,
    checked_host,
    is_loopback,
    is_unspecified,
    members_by_sid,
    sid_of,
)
from trionet.services.joining import seed_addresses

HERE = NodeAddress("127.0.0.1", 8080)


def test_the_nid_is_the_sha256_of_the_canonical_json_of_the_address() -> None:
    assert HERE.nid == hashlib.sha256(b'{"ip":"127.0.0.1","port":8080}').hexdigest()
    assert HERE.nid.startswith("8bc87195543731af")


def test_the_sid_is_the_first_ten_digits_of_the_nid() -> None:
    assert HERE.sid == HERE.nid[:10] == "8bc8719554"


def test_another_port_gives_another_nid_and_sid() -> None:
    other = NodeAddress("127.0.0.1", 8081)
    assert other.nid != HERE.nid
    assert other.sid != HERE.sid


@pytest.mark.parametrize(
    ("address", "shown"),
    [(HERE, "127.0.0.1:8080"), (NodeAddress("::1", 80), "[::1]:80"), (NodeAddress("db.example", 1), "db.example:1")],
)
def test_an_address_is_shown_as_ip_and_port_and_read_back_from_that(address: NodeAddress, shown: str) -> None:
    assert str(address) == shown
    assert NodeAddress.of(shown) == address


@pytest.mark.parametrize(
    "value",
    [
        HERE,
        "127.0.0.1:8080",
        {"ip": "127.0.0.1", "port": 8080},
        SimpleNamespace(ip="127.0.0.1", port=8080),
        SimpleNamespace(address=HERE),
        NodeConfig(port=8080),
    ],
    ids=str,
)
def test_an_address_is_taken_in_every_form_that_means_one(value: Any) -> None:
    assert NodeAddress.of(value) == HERE


@pytest.mark.parametrize(
    "value",
    [
        None,
        8080,
        b"127.0.0.1:8080",
        "",
        "127.0.0.1",
        ":8080",
        "127.0.0.1:",
        "127.0.0.1:http",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:\u0663",
        "127.0.0.1:" + 5000 * "9",
        ["127.0.0.1", 8080],
        {"ip": "127.0.0.1"},
        {"ip": 127, "port": 8080},
        {"ip": "127.0.0.1", "port": "8080"},
    ],
    ids=lambda value: f"{value!r:.30}",
)
def test_what_means_no_address_is_refused(value: Any) -> None:
    with pytest.raises(MalformedRequest):
        NodeAddress.of(value)


@pytest.mark.parametrize(
    ("text", "ip"),
    [
        ("[::1]:80", "::1"),
        ("[0:0:0:0:0:0:0:1]:80", "::1"),
        ("[FD00::A]:80", "fd00::a"),
        ("[fd00:0:0::a]:80", "fd00::a"),
        ("[fe80::1%eth0]:80", "fe80::1%eth0"),
        ("[FE80::1%Eth0]:80", "fe80::1%Eth0"),
        ("[::ffff:127.0.0.1]:80", "127.0.0.1"),
        ("[::FFFF:7F00:1]:80", "127.0.0.1"),
        ("[::]:80", "::"),
        ("localhost:80", "localhost"),
        ("ip6-localhost:80", "ip6-localhost"),
    ],
)
def test_an_address_has_one_identifier_in_every_form_of_its_text(text: str, ip: str) -> None:
    (seed,) = NodeConfig(join=[text]).join or []
    found = {NodeAddress.of(text), NodeAddress.of(seed), *seed_addresses([text]), *members_by_sid([text]).values()}
    assert found == {NodeAddress(ip, 80)}
    assert sid_of(text) == NodeAddress(ip, 80).sid
    host = text.removesuffix(":80")
    config = NodeConfig(ip=host, port=80)
    assert NodeAddress.of(config) == NodeAddress(ip, 80)
    if not is_unspecified(ip):
        assert NodeConfig(advertise_ip=host).advertise_ip == ip


@pytest.mark.parametrize(
    "text",
    ["::1", "[::1]", "::1:8080", "fd00::1:8080", "1:2:3:4:5:6:7:8:80", "::ffff:127.0.0.1:80", "fe80::1%eth0", "[::1:80",
     "[[::1]]:80", "[fe80::1%]:80", "[127.0.0.1]:80", "[localhost]:80", "[]:80", "[::1]:", "[::1]:http", "[::1] :80"],
)  # fmt: skip
def test_an_ipv6_address_without_brackets_or_port_is_refused_with_the_form_to_write(text: str) -> None:
    hint = re.escape("an IPv6 address stands in brackets, and the port after them, as in '[::1]:8080'")
    for refuse in (NodeAddress.of, lambda text: seed_addresses([text]), lambda text: members_by_sid([text])):
        with pytest.raises(MalformedRequest, match=hint):
            refuse(text)
    with pytest.raises(ConfigError, match=rf"^join: .*{hint}"):
        NodeConfig(join=[text])


@pytest.mark.parametrize("port", [-1, 65_536, True, 80.0, None])
def test_a_port_is_a_number_from_0_to_65535(port: Any) -> None:
    with pytest.raises(MalformedRequest, match="port"):
        NodeAddress("127.0.0.1", port)


@pytest.mark.parametrize("ip", ["", None, 127, "x" * 254])
def test_an_ip_is_a_text_of_at_most_253_characters(ip: Any) -> None:
    with pytest.raises(MalformedRequest, match="ip"):
        NodeAddress(ip, 80)


def test_the_bounds_of_ports_and_names_are_addresses() -> None:
    assert NodeAddress("x" * 253, 0).port == 0
    assert NodeAddress("127.0.0.1", 65_535).port == 65_535


def test_members_are_keyed_by_sid_in_sid_order() -> None:
    nodes = [NodeAddress("127.0.0.1", port) for port in range(1, 50)]
    members = members_by_sid(reversed(nodes))
    assert list(members) == sorted(node.sid for node in nodes)
    assert all(node.sid == sid for sid, node in members.items())


def test_the_keys_of_a_mapping_are_computed_anew() -> None:
    assert members_by_sid({"nonsense": "127.0.0.1:8080"}) == {HERE.sid: HERE}


def test_an_address_given_twice_is_one_member() -> None:
    assert members_by_sid([HERE, "127.0.0.1:8080"]) == {HERE.sid: HERE}


def test_two_addresses_with_one_sid_are_an_error_that_names_both() -> None:
    first, second = COLLIDING
    assert first != second
    assert first.sid == second.sid
    assert first.nid != second.nid
    with pytest.raises(SIDCollision) as caught:
        members_by_sid(COLLIDING)
    assert all(name in caught.value.text for name in (str(first), str(second), first.sid))


@pytest.mark.parametrize("nodes", [None, 5, "127.0.0.1:8080", b"nodes", HERE], ids=repr)
def test_members_come_from_an_iterable_of_addresses_or_a_mapping(nodes: Any) -> None:
    with pytest.raises(MalformedRequest):
        members_by_sid(nodes)


@pytest.mark.parametrize("gid", ["a", "browncs", "A-Z_0.9", "...", ".a", "a.", "..a", "x" * 128])
def test_a_gid_is_1_to_128_of_letters_digits_underscore_hyphen_and_dot(gid: str) -> None:
    assert check_gid(gid) == gid


@pytest.mark.parametrize(
    "gid", ["", ".", "..", "x" * 129, "a b", "a/b", "a\n", "groß", "\u0661", None, 5, b"a", ["a"]], ids=repr
)
def test_any_other_gid_is_refused(gid: Any) -> None:
    with pytest.raises(MalformedRequest, match="gid"):
        check_gid(gid)


@pytest.mark.parametrize("gid", [".\n", "%2e", "%2E%2e", "a%2fb", "\uff0e", "\u2024", "e\u0301", "\xe9", "a\0", " ."])
def test_what_could_be_read_as_another_gid_is_refused(gid: str) -> None:
    with pytest.raises(MalformedRequest, match="gid"):
        check_gid(gid)


@pytest.mark.parametrize("what", ["service name", "method name", "template name", "launcher name"])
def test_a_name_is_a_segment_of_paths_whatever_it_names(what: str) -> None:
    for name in (".", ".."):
        with pytest.raises(MalformedRequest, match=rf"^a {what} is .* neither '\.' nor '\.\.'$"):
            check_name(name, what)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("[::1]", "::1"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("2001:DB8::1", "2001:db8::1"),
        ("[2001:db8:0::1]", "2001:db8::1"),
        ("fe80::1%eth0", "fe80::1%eth0"),
        ("[fe80::1%eth0]", "fe80::1%eth0"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("[::ffff:192.0.2.1]", "192.0.2.1"),
        ("localhost", "localhost"),
        ("LocalHost", "localhost"),
        ("localhost.", "localhost"),
        ("node-1.Example.com.", "node-1.example.com"),
        ("my_node", "my_node"),
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("\uff11\uff12\uff17.0.0.1", "127.0.0.1"),
    ],
)
def test_a_host_is_understood_in_every_way_to_write_it(given: str, taken: str) -> None:
    assert checked_host(given, "ip") == taken
    assert checked_destination(given, "advertise_ip") == taken


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        ("127.0.0.1:8080", "the port is a separate setting: use '127.0.0.1', port 8080"),
        ("[::1]:8080", "the port is a separate setting: use '[::1]', port 8080"),
        ("localhost:8080", "the port is a separate setting: use 'localhost', port 8080"),
        ("127.0.0.1:", "the port is a separate setting"),
        (":8080", "the port is a separate setting"),
        ("[127.0.0.1]", "brackets are for IPv6 addresses: use '127.0.0.1'"),
        ("127.1", "no IPv4 address"),
        ("127.0.0.256", "no IPv4 address"),
        ("127.0.0.01", "no IPv4 address"),
        ("127.0.0.1.", "no IPv4 address"),
        ("0", "no IPv4 address"),
        ("2130706433", "no IPv4 address"),
        ("0x7f.0x1", "no IPv4 address"),
        ("::g", "no IPv6 address"),
        ("fe80::1", "name that, as 'fe80::1%eth0'"),
        ("[FE80::0:1]", "name that, as 'fe80::1%eth0'"),
        ("[::1", "no IPv6 address"),
        ("1:2:3", "no IPv6 address"),
        ("http://127.0.0.1:8080", "an IP address or a host name"),
        ("127.0.0.0/8", "an IP address or a host name"),
        ("a b", "an IP address or a host name"),
        (" 127.0.0.1", "no IPv4 address"),
        ("localhost\n", "an IP address or a host name"),
        ("local\0host", "an IP address or a host name"),
        ("a..b", "an IP address or a host name"),
        (".", "an IP address or a host name"),
        ("*", "an IP address or a host name"),
        ("user@host", "an IP address or a host name"),
        ("x" * 64, "an IP address or a host name"),
        ("", "an IP address or a host name"),
        (None, "an IP address or a host name"),
        (5, "an IP address or a host name"),
    ],
)
def test_what_is_no_host_is_refused_with_the_reason(given: Any, reason: str) -> None:
    for check in (checked_host, checked_destination):
        with pytest.raises(ConfigError, match=re.escape(reason)) as caught:
            check(given, "the setting")
        assert caught.value.text.startswith("the setting is ")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]", "0:0:0:0:0:0:0:0", "::ffff:0.0.0.0", "224.0.0.1", "ff02::1"])
def test_nobody_can_connect_to_all_addresses_or_many(host: str) -> None:
    assert checked_host(host, "ip")
    with pytest.raises(ConfigError, match="advertise_ip is the address that others connect to"):
        checked_destination(host, "advertise_ip")


def test_a_name_that_is_refused_is_called_what_it_is() -> None:
    with pytest.raises(MalformedRequest, match=r"a method name is .* not 'a b'"):
        check_name("a b", "method name")


@pytest.mark.parametrize(
    ("ip", "expected"),
    [
        ("127.0.0.1", True),
        ("127.255.0.9", True),
        ("::1", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("::", False),
        ("192.168.1.1", False),
        ("8.8.8.8", False),
        ("example.com", False),
        ("localhost.example.com", False),
    ],
)
def test_loopback_is_what_this_machine_alone_can_reach(ip: str, expected: bool) -> None:
    assert is_loopback(ip) is expected


@pytest.mark.slow
def test_a_name_beyond_ascii_is_refused_while_no_descriptor_is_free_to_import_its_codec() -> None:
    code = (
        "import resource\n"
        "from trionet.errors import ConfigError\n"
        "from trionet.identity import checked_host\n"
        "limits = resource.getrlimit(resource.RLIMIT_NOFILE)\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (3, limits[1]))\n"
        "try:\n"
        "    print(checked_host('\\xe4.example', 'ip'))\n"
        "except ConfigError as exc:\n"
        "    print(ascii(exc.text))\n"
        "print(checked_host('A.example', 'ip'))\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, limits)\n"
        "print(checked_host('\\xe4.example', 'ip'))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    refusal = ascii("ip is an IP address or a host name, not '\xe4.example'")
    assert done.stdout.splitlines() == [refusal, "a.example", "xn--4ca.example"]
