"""What a person may write into a cluster file, and what they are told of everything else."""

from __future__ import annotations

import json
import math
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.cluster.files import plan_of, written
from tests.security.keys import key_of
from trionet import ConfigError, NodeConfig
from trionet.cli.cluster.cluster_file import FILE_KEYS, HOST_KEYS, read_cluster_file

if TYPE_CHECKING:
    from pathlib import Path

WHOLE = """\
cluster = "shop"
nodes = 5
placement = "spread"
min = 4
key_file = "cluster.key"
port = 8080
restart = "on_failure"
join = ["10.0.0.9:8080"]
venv = "/opt/shop/"
user = "me"
slots = 2
tags = {kind = "worker"}
services = {counter = "shop.counter:Counter"}
environment = {LANG = "C"}

[hosts.alpha]
address = "alpha.example"
ip = "10.0.0.5"
slots = 4
tags = {zone = "a"}
services = {till = "shop.till:Till"}
options = ["-p", "2222"]
environment = {MODE = "fast"}
directory = "/srv/shop"

[hosts.beta]
address = "you@10.0.0.6"
command = ["podman", "run", "-i", "shop"]

[hosts.local]
ip = "10.0.0.1"
slots = 1
"""


def test_a_host_goes_before_the_file_and_tables_add_up(tmp_path: Path) -> None:
    file = read_cluster_file(written(tmp_path, WHOLE))
    assert (file.nodes, file.placement, file.least) == (5, "spread", 4)
    assert file.settings["key_file"] == str(tmp_path / "cluster.key"), "relative to the file"
    alpha, beta, local = file.hosts
    assert (alpha.name, alpha.address, alpha.slots) == ("alpha", "me@alpha.example", 4)
    assert alpha.command == ["/opt/shop/bin/python", "-m", "trionet.cli.node"]
    assert (alpha.options, alpha.directory) == (["-p", "2222"], "/srv/shop")
    assert alpha.environment == {"LANG": "C", "MODE": "fast"}
    assert (beta.address, beta.slots, beta.command) == ("you@10.0.0.6", 2, ["podman", "run", "-i", "shop"])
    assert (beta.options, beta.directory) == ([], None)
    assert (local.address, local.slots, local.command, local.environment) == (None, 1, [], {})


def test_the_nodes_have_the_settings_of_both_and_the_name_of_their_host_as_a_tag(tmp_path: Path) -> None:
    alpha, beta, local = plan_of(tmp_path, WHOLE, has_key=True).hosts
    assert [len(each.configs) for each in (alpha, beta, local)] == [2, 2, 1]
    first, second = alpha.configs
    assert (first.ip, first.port, second.port) == ("10.0.0.5", 8080, 8081)
    assert first.tags == {"kind": "worker", "zone": "a", "host": "alpha"}
    assert first.services == {"counter": "shop.counter:Counter", "till": "shop.till:Till"}
    assert (first.cluster, first.restart, first.join, first.key_file) == (
        "shop",
        "on_failure",
        ["10.0.0.9:8080"],
        None,
    )
    assert beta.configs[0].ip == "10.0.0.6", "the address of the host, which is an IP address"
    assert beta.configs[0].tags == {"kind": "worker", "host": "beta"}
    assert local.configs[0].ip == "10.0.0.1"


def test_local_hosts_are_one_machine_so_their_ports_follow_each_other(tmp_path: Path) -> None:
    text = (
        "port = 9000\nslots = 2\n[hosts.a]\nlocal = true\n[hosts.b]\nlocal = true\n[hosts.c]\nlocal = true\nport = 9100"
    )
    plan = plan_of(tmp_path, text)
    ports = [config.port for each in plan.hosts for config in each.configs]
    assert ports == [9000, 9001, 9002, 9003, 9100, 9101]


A_HOST = "[hosts.alpha]\n"
WRONG = [
    # what is written, and what is said of it
    ("", "there are no hosts: write a table [hosts.NAME] for each machine"),
    ("nodes = 3\n", "there are no hosts"),
    ("hosts = 3\n", "hosts: expected a table, [hosts], not 3"),
    ("[[hosts]]\nname = 'a'\n", "hosts: each host is a table of its own: [hosts.NAME], not [[hosts]]"),
    ("[hosts]\nalpha = 3\n", "hosts.alpha: expected a table, [hosts.alpha], not 3"),
    ("[hosts.alpha.example]\n", 'hosts.alpha.example: a name with dots is quoted: [hosts."alpha.example"]'),
    ("[hosts.10.0.0.5]\nslots = 2\n", 'hosts.10.0: a name with dots is quoted: [hosts."10.0.0.5"]'),
    ("[hosts.'a b']\n", "a name of a host is 1 to 128 of letters"),
    ("[hosts.alpha]\n[hosts.alpha]\n", "line 2"),
    (A_HOST + "slot = 3\n", "hosts.alpha.slot: there is no such key; did you mean slots"),
    (A_HOST + "hostname = 'a'\n", "hosts.alpha.hostname: there is no such key; did you mean address?"),
    (A_HOST + "container = ['a']\n", "hosts.alpha.container: there is no such key; did you mean command?"),
    (A_HOST + "xyz = 1\n", "hosts.alpha.xyz: there is no such key; there are address, "),
    (A_HOST + '"a.\\u001bb" = 1\n', r"hosts.alpha.'a.\x1bb': there is no such key"),
    ("node = 3\n" + A_HOST, "node: there is no such key; did you mean nodes"),
    ("host = 'a'\n" + A_HOST, "host: there is no such key"),
    ("address = 'a'\n" + A_HOST, "address: there is no such key"),
    (A_HOST + "slots = -1\n", "hosts.alpha.slots: a whole number from 0 to 10,000, not -1"),
    (A_HOST + "slots = 99999999999999999999\n", "hosts.alpha.slots: a whole number from 0 to 10,000, not 9999"),
    (A_HOST + f"slots = {'9' * 5000}\n", "limit"),
    (A_HOST + "slots = 1.0\n", "hosts.alpha.slots: a whole number from 0 to 10,000, not 1.0"),
    (A_HOST + "slots = true\n", "hosts.alpha.slots: a whole number from 0 to 10,000, not True"),
    (A_HOST + "slots = '3'\n", "hosts.alpha.slots: a whole number from 0 to 10,000, not '3'"),
    ("nodes = 0\n" + A_HOST, "nodes: a whole number from 1 to 10,000, not 0"),
    ("nodes = inf\n" + A_HOST, "nodes: a whole number from 1 to 10,000, not inf"),
    ("min = 0\n" + A_HOST, "min: a whole number from 1 to 10,000, not 0"),
    ("placement = 'strickt'\n" + A_HOST, "placement: spread or strict, not 'strickt'; did you mean strict?"),
    ("placement = 3\n" + A_HOST, "placement: expected a text, not 3"),
    (A_HOST + "local = 'yes'\n", "hosts.alpha.local: true or false, not 'yes'"),
    (A_HOST + "local = true\nuser = 'me'\n", "hosts.alpha.user: its nodes start on this machine, without ssh"),
    ("[hosts.local]\nvenv = '/opt'\n", "hosts.local.venv: its nodes start on this machine, without ssh"),
    (A_HOST + "address = ''\n", "hosts.alpha.address: expected a text, not ''"),
    (A_HOST + "address = 5\n", "hosts.alpha.address: expected a text, not 5"),
    (A_HOST + "address = '-oProxyCommand=evil'\n", "hosts.alpha.address: a name of ssh's configuration"),
    (A_HOST + "address = 'me@-oProxyCommand=evil'\n", "hosts.alpha.address: a name of ssh's configuration"),
    (A_HOST + "address = 'a b'\n", "hosts.alpha.address: a name of ssh's configuration"),
    (A_HOST + "address = 'ssh://a'\n", "hosts.alpha.address: a name of ssh's configuration"),
    (
        A_HOST + "address = 'a:2222'\n",
        'hosts.alpha.address: ssh takes the port from its options: options = ["-p", "2222"]',
    ),
    (
        A_HOST + "address = 'me@[fd00::1]:2222'\n",
        'hosts.alpha.address: ssh takes the port from its options: options = ["-p", "2222"]',
    ),
    (A_HOST + "address = 'me@a'\nuser = 'you'\n", "hosts.alpha.user: the address names the user me, too"),
    (A_HOST + "user = '-l'\n", "hosts.alpha.user: the name of a user, not '-l'"),
    (
        A_HOST + "options = '-p 2222'\n",
        "hosts.alpha.options: a list of words, as ['-p', '2222'], not the text '-p 2222'",
    ),
    (A_HOST + "options = ['-p', 2222]\n", "hosts.alpha.options: a list of words, and 2222 is no word"),
    (A_HOST + "options = ['beta']\n", "hosts.alpha.options: options and their arguments alone, as "),
    (A_HOST + "options = ['-4', '-N']\n", "hosts.alpha.options: with -N ssh runs no command there"),
    (A_HOST + "address = '[]'\n", "hosts.alpha.address: a name of ssh's configuration, a host name or an IP address"),
    (A_HOST + "command = ['', 'x']\n", "hosts.alpha.command: the words that run trionet-node there; it is empty"),
    ("key_file = '~nobody-at-all/key'\n" + A_HOST, "key_file: '~nobody-at-all/key': could not determine home"),
    (A_HOST + "command = ['']\n", "hosts.alpha.command: the words that run trionet-node there; it is empty"),
    (A_HOST + "command = []\n", "hosts.alpha.command: the words that run trionet-node there; it is empty"),
    (A_HOST + "venv = '/v'\npython = '/p'\n", "hosts.alpha.venv: python says already how nodes start"),
    (A_HOST + "environment = {'A-B' = 'x'}\n", "hosts.alpha.environment.A-B: the name of a variable has"),
    (A_HOST + "environment = {A = 3}\n", "hosts.alpha.environment.A: expected a text, not 3"),
    (A_HOST + "environment = {TRIONET_KEY = 'x'}\n", "hosts.alpha.environment.TRIONET_KEY: the key goes through"),
    (
        A_HOST + "environment = {TRIONET_PORT = '1'}\n",
        "nodes take their settings from this file: write port in place of",
    ),
    (A_HOST + "tags = {host = 'x'}\n", "hosts.alpha.tags: the tag host is the name of the host: leave it out"),
    ("tags = {host = 'x'}\n" + A_HOST, "tags: the tag host is the name of the host: leave it out"),
    (A_HOST + "tags = {a = 3}\n", "hosts.alpha.tags.a: expected a text, not 3"),
    (A_HOST + "tags = 3\n", "hosts.alpha.tags: expected a table"),
    (A_HOST + "services = 3\n", "hosts.alpha.services: expected a table"),
    (A_HOST + "services = {a = 'b'}\n", "[hosts.alpha]: services.a is 'package.module:Class', not 'b'"),
    (A_HOST + "launcher = 'ssh:a'\n", "hosts.alpha.launcher: the hosts say how nodes start: leave it out"),
    ("detach = true\n" + A_HOST, "detach: these nodes stop with the command: leave it out"),
    ("ca_file = 'ca.pem'\n" + A_HOST, "ca_file: each node reads it on its own host: write an absolute path"),
    (A_HOST + "cluster = 'a'\n", "hosts.alpha.cluster: all nodes of a cluster share it: write it above the hosts"),
    (A_HOST + "port = 99999\n", "[hosts.alpha]: port: "),
    ("port = 'x'\n" + A_HOST, "port: "),
    ("restart = 'sometimes'\n" + A_HOST, "restart is never, on_failure or always"),
    (
        "[hosts.a]\naddress = 'me@x'\n[hosts.b]\naddress = 'x'\nuser = 'me'\n",
        "[hosts.b]: is me@x, as a is: leave it out",
    ),
    ("a = " + "[" * 5000 + "\n", "too deep"),
]


@pytest.mark.parametrize(("text", "said"), WRONG, ids=lambda value: repr(value[:40]))
def test_a_mistake_is_said_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_cluster_file(written(tmp_path, text))
    assert caught.value.text.startswith(f"{tmp_path}/cluster.toml: "), caught.value.text
    assert said in caught.value.text
    assert len(caught.value.text) < 1000


def test_a_file_that_is_none_is_said(tmp_path: Path) -> None:
    (tmp_path / "latin.toml").write_bytes(b"[hosts.caf\xe9]\n")
    (tmp_path / "long.toml").write_bytes(b"#" * (2 << 20))
    cases = {
        str(tmp_path): "Is a directory",
        str(tmp_path / "none.toml"): "No such file",
        str(tmp_path / "latin.toml"): "byte 10 is no UTF-8",
        str(tmp_path / "long.toml"): "at most 1,048,576 bytes",
        "/dev/zero": "at most",
        "a\0b": "null byte",
    }
    for path, said in cases.items():
        with pytest.raises(ConfigError, match=said):
            read_cluster_file(path)


def test_a_file_with_a_byte_order_mark_and_windows_lines_is_read(tmp_path: Path) -> None:
    (tmp_path / "windows.toml").write_bytes(b"\xef\xbb\xbfnodes = 1\r\n[hosts.local]\r\n")
    assert read_cluster_file(str(tmp_path / "windows.toml")).nodes == 1


def test_a_key_in_the_file_is_refused_and_not_quoted(tmp_path: Path) -> None:
    key = key_of(1).reveal()
    for text in (f'key_file = "{key}"\n{A_HOST}', f'{A_HOST}environment = {{A = "{key}"}}\n', f"# {key}\n{A_HOST}"):
        with pytest.raises(ConfigError, match="give the path of the key's file in key_file") as caught:
            read_cluster_file(written(tmp_path, text))
        assert key not in caught.value.text


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**20) | st.text(max_size=5) | st.floats(),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def toml_of(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {toml_of(each)}" for key, each in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml_of, value)) + "]"
    if isinstance(value, float):
        return repr(value) if math.isfinite(value) else "inf"
    return json.dumps("" if value is None else value, ensure_ascii=False)


@given(st.sampled_from([*FILE_KEYS, *HOST_KEYS, "ip", "port", "join", "services", "policy"]), VALUES, st.booleans())
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=150)
def test_any_value_of_any_key_is_read_or_is_an_error_of_the_configuration(
    tmp_path: Path, key: str, value: object, is_of_host: bool
) -> None:
    line = f"{key} = {toml_of(value)}\n"
    path = tmp_path / "any.toml"
    path.write_bytes(("[hosts.local]\n" + line if is_of_host else line + "[hosts.local]\n").encode(errors="ignore"))
    with suppress(ConfigError):
        read_cluster_file(str(path))


def test_the_keys_are_distinct_from_the_settings_of_nodes() -> None:
    assert not {*FILE_KEYS, *HOST_KEYS} & set(NodeConfig.__struct_fields__)
