"""Where the nodes of a cluster file would start, and which clusters could not work."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.cluster.files import plan_of, written
from tests.commands import run
from tests.keyed_nodes import new_file
from trionet import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

TWO = '[hosts.a]\naddress = "a.example"\nip = "10.0.0.5"\n[hosts.b]\naddress = "b.example"\nip = "10.0.0.6"\n'

REFUSED = [
    # no usable address
    (
        '[hosts.a]\naddress = "a.example"\n',
        "[hosts.a]: its nodes would be at 127.0.0.1, where no other machine reaches them: set ip to an address of a; "
        'or ip = "0.0.0.0" and advertise_ip to its address or its network interface',
    ),
    (TWO.replace("b.example", "fe80::1%eth0").replace('ip = "10.0.0.6"', ""), "[hosts.b]: its nodes would be at 127."),
    (TWO + "[hosts.local]\n", "[hosts.local]: its nodes would be at 127.0.0.1, where no other machine reaches them"),
    (TWO.replace('"10.0.0.6"', '"::1"'), "[hosts.b]: its nodes would be at ::1"),
    (TWO.replace('"10.0.0.6"', '"0.0.0.0"\nadvertise_ip = "localhost"'), "[hosts.b]: its nodes would be at localhost"),
    (TWO.replace('"10.0.0.6"', '"0.0.0.0"'), "[hosts.b]: with ip 0.0.0.0 other nodes need advertise_ip"),
    # no room
    ("nodes = 3\n" + TWO, "cluster.toml: 3 nodes need 3 slots, and the hosts have 2 (a 1, b 1)"),
    ("nodes = 3\nplacement = 'strict'\nslots = 2\n" + TWO, 'cluster.toml: placement = "strict" puts one node'),
    ("slots = 5001\n" + TWO, "cluster.toml: 10,002 nodes, and there are at most 10,000: set nodes to fewer"),
    ("nodes = 2\nmin = 3\n" + TWO, "cluster.toml: min is 3, and there are 2 nodes: set it to 1 to 2"),
    ("port = 65535\nslots = 2\n" + TWO, "[hosts.a]: there are no 2 ports from 65535 on"),
    ("port = 80\nadvertise_port = 65535\nslots = 2\n" + TWO, "ports from 65535 on: set a lower advertise_port"),
    ("advertise_port = 80\n" + TWO, "[hosts.a]: set port (--port), too: advertise_port is mapped to one"),
    # two nodes at one address
    ("port = 80\n" + TWO.replace("0.6", "0.5"), "[hosts.b]: one of its nodes would be 10.0.0.5:80, as one of a is"),
    (
        'port = 80\nadvertise_port = 90\nadvertise_ip = "192.0.2.1"\n' + TWO,
        "[hosts.b]: one of its nodes would be 192.0.2.1:90, as one of a is",
    ),
    ("port = 80\n[hosts.a]\nlocal = true\nslots = 2\n[hosts.b]\nlocal = true\nport = 81\n", "would be 127.0.0.1:81"),
]


@pytest.mark.parametrize(("text", "said"), REFUSED)
def test_a_plan_that_could_not_work_is_refused_with_what_to_set(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        plan_of(tmp_path, text, has_key=True)
    assert said in caught.value.text


MAPPED = """
port = 7946
slots = 2
advertise_ip = "192.0.2.1"
[hosts.a]
address = "a.example"
ip = "10.0.0.5"
advertise_port = 9000
[hosts.b]
address = "b.example"
ip = "10.0.0.6"
advertise_port = 9100
"""


def test_advertised_ports_follow_each_other_as_the_ports_do(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, MAPPED, has_key=True)
    assert [each.addresses for each in plan.hosts] == ["192.0.2.1:9000 to 9001", "192.0.2.1:9100 to 9101"]
    ports = [[(config.port, config.advertise_port) for config in each.configs] for each in plan.hosts]
    assert ports == [[(7946, 9000), (7947, 9001)], [(7946, 9100), (7947, 9101)]]
    told = [[node["port"] for node in host["nodes"]] for host in plan.document()["hosts"]]
    assert told == [[9000, 9001], [9100, 9101]]


def test_advertised_ports_of_several_hosts_that_are_this_machine_follow_each_other_too(tmp_path: Path) -> None:
    text = "port = 7946\nadvertise_port = 9000\n[hosts.a]\nlocal = true\nslots = 2\n[hosts.b]\nlocal = true\n"
    plan = plan_of(tmp_path, text)
    found = [(config.port, config.advertise_port) for each in plan.hosts for config in each.configs]
    assert found == [(7946, 9000), (7947, 9001), (7948, 9002)]


def test_beyond_loopback_a_key_is_needed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"\[hosts.a\]: refusing to listen on 10.0.0.5 without a key"):
        plan_of(tmp_path, TWO)
    assert plan_of(tmp_path, "insecure = true\n" + TWO).total == 2


def test_hosts_without_nodes_need_no_address(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, TWO + "[hosts.c]\nslots = 0\n", has_key=True)
    assert ([each.host.name for each in plan.hosts], plan.empty) == (["a", "b"], ["c"])


def test_several_logins_to_this_machine_may_use_loopback(tmp_path: Path) -> None:
    text = "".join(f'[hosts.{name}]\naddress = "127.0.0.1"\noptions = ["-p", "{name[1:]}"]\n' for name in ("a1", "a2"))
    assert [config.ip for each in plan_of(tmp_path, text).hosts for config in each.configs] == ["127.0.0.1"] * 2


def test_the_number_of_the_command_line_goes_before_that_of_the_file(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "slots = 4\nnodes = 8\nmin = 2\n" + TWO, nodes=3, least=1, has_key=True)
    assert (plan.total, plan.least) == (3, 1)
    assert plan_of(tmp_path, "slots = 4\n" + TWO, has_key=True).total == 8


def test_plan_prints_what_would_start_where_and_needs_no_host(tmp_path: Path) -> None:
    key_file = new_file(tmp_path)
    text = f'key_file = "{key_file}"\nslots = 2\nport = 8080\nuser = "me"\n{TWO}[hosts.spare]\nslots = 0\n'
    path = written(tmp_path, text)
    done = run("up", "--hosts", path, "--plan", "--json")
    assert done.status == 0, done.err
    plan = done.document
    assert (plan["cluster"], plan["placement"], plan["min"], plan["without_nodes"]) == (
        "trionet",
        "spread",
        4,
        ["spare"],
    )
    first = plan["hosts"][0]
    assert (first["name"], first["address"], first["slots"]) == ("a", "me@a.example", 2)
    assert first["nodes"] == [{"ip": "10.0.0.5", "port": 8080}, {"ip": "10.0.0.5", "port": 8081}]
    assert first["command"][0] == "ssh"
    assert "me@a.example" in first["command"]
    done = run("up", "3", "--hosts", path, "--plan")
    assert done.status == 0, done.err
    assert done.out.startswith("3 nodes of cluster trionet by spread: a 2, b 1\n")
    assert "10.0.0.5:8080 to 8081" in done.out
    key = (tmp_path / "cluster.key").read_text("utf-8") if (tmp_path / "cluster.key").exists() else "trionet-key"
    assert key.strip() not in done.out


WRONG_USAGE = [
    (["up"], "give N, the number of nodes, or --hosts FILE"),
    (["up", "3", "--plan"], "--plan is for --hosts FILE"),
    (["up", "3", "--min", "2"], "--min is for --hosts FILE"),
    (["up", "0", "--hosts", "FILE"], "N is a positive number, not 0"),
    (["up", "--hosts", "FILE", "--min", "0"], "min is 0, and there is 1 node"),
    (["up", "--hosts", "FILE", "--launcher", "subprocess"], "--launcher: the cluster file says how nodes start"),
    (["up", "--hosts", "FILE", "--config", "{}"], "--config: the cluster file says their settings"),
    (["up", "--hosts", "FILE", "--key-file", "/none.key", "--plan"], "/none.key"),
    (["up", "--hosts", "/none.toml"], "/none.toml: No such file or directory"),
]


@pytest.mark.parametrize(("words", "said"), WRONG_USAGE)
def test_wrong_usage_is_one_line_and_status_2(tmp_path: Path, words: list[str], said: str) -> None:
    path = written(tmp_path, "[hosts.local]\n")
    done = run(*(path if word == "FILE" else word for word in words))
    assert (done.status, done.out) == (2, ""), done.err
    (line,) = done.err.splitlines()
    assert said in line


def test_the_environment_goes_before_the_file_and_an_option_before_both(tmp_path: Path) -> None:
    path = written(tmp_path, "port = 8000\n[hosts.local]\n")

    def port(*words: str, **environment: str) -> int:
        done = run("up", "--hosts", path, "--plan", "--json", *words, width=None, **environment)
        found: int = json.loads(done.out)["hosts"][0]["nodes"][0]["port"]
        return found

    assert port() == 8000
    assert port(TRIONET_PORT="8001", TRIONET_LAUNCHER="subprocess") == 8001
    assert port("--port-from", "8002", TRIONET_PORT="8001") == 8002
