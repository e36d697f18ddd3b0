"""Where commands find keys, and how they refuse what is no safe source of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import trio

from tests.keyed_nodes import new_file, refusal_by
from tests.node_processes import ROOT, clean_environment
from tests.security.keys import key_of
from tests.waiting import DEADLINE_S, wait_until
from trionet import ConfigError, NodeAddress, NodeConfig, Remote, open_node
from trionet.cli.arguments import keys_of
from trionet.cli.node import main as node_main
from trionet.cli.up import main as up_main
from trionet.protocols.link.refusals import Refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Generator
    from pathlib import Path

KEY = key_of(1).reveal()
SECRET = KEY.rpartition(":")[2]

COMMANDS = {"node": (node_main, []), "up": (up_main, ["2"])}
each_command = pytest.mark.parametrize(("main", "arguments"), COMMANDS.values(), ids=list(COMMANDS))

BEYOND: dict[str, Any] = {"ip": "0.0.0.0", "advertise_ip": "127.0.0.1"}
REFUSED: dict[str, tuple[list[str], dict[str, str], str]] = {
    "no such file": (["--key-file", "nowhere.key"], {}, "nowhere.key: there is no such file"),
    "no such file in the environment": ([], {"TRIONET_KEY_FILE": "nowhere.key"}, "nowhere.key: there is no such file"),
    "an empty path": (["--key-file", ""], {}, "key_file is the path of a file"),
    "a folder": (["--key-file", "."], {}, "is no regular file"),
    "others may read it": (["--key-file", "open.key"], {}, "open.key has mode 0644"),
    "no key": (["--key-file", "text.key"], {}, "text.key: line 1"),
    "a key as a path": (["--key-file", KEY], {}, "one of the arguments is a key"),
    "a key as a path after =": ([f"--key-file={KEY}"], {}, "one of the arguments is a key"),
    "a key as an unknown option": (["--key", KEY], {}, "one of the arguments is a key"),
    "a key in an inline configuration": (["--config", json.dumps({"key_file": KEY})], {}, "one of the arguments is a"),
    "a key in place of a path": ([], {"TRIONET_KEY_FILE": KEY}, "TRIONET_KEY_FILE holds a key"),
    "a passphrase": ([], {"TRIONET_KEY": "correct horse"}, "TRIONET_KEY: a key begins with trionet-key-v1:"),
    "a wrong character": ([], {"TRIONET_KEY": KEY[:-1] + ("A" if KEY[-1] != "A" else "B")}, "checksum"),
    "both": (["--key-file", "good.key"], {"TRIONET_KEY": KEY}, "both TRIONET_KEY and a key file"),
    "a path in the configuration": (["--config", '{"key_file": "nowhere.key"}'], {}, "nowhere.key: there is no"),
    "a cluster that is no name": (["--config", '{"cluster": "Shop!"}'], {"TRIONET_KEY": KEY}, "cluster"),
    "no key beyond loopback": (["--config", json.dumps(BEYOND)], {}, "without a key"),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with key files, the working directory; no variable of trionet is set."""
    os.rename(new_file(tmp_path), tmp_path / "good.key")
    os.rename(new_file(tmp_path), tmp_path / "open.key")
    (tmp_path / "open.key").chmod(0o644)
    (tmp_path / "text.key").write_text("swordfish\n", encoding="ascii")
    (tmp_path / "text.key").chmod(0o600)
    monkeypatch.chdir(tmp_path)
    for name in [name for name in os.environ if name.startswith("TRIONET_")]:
        monkeypatch.delenv(name)
    return tmp_path


@each_command
@pytest.mark.parametrize(("given", "environment", "expected"), REFUSED.values(), ids=list(REFUSED))
def test_a_key_that_can_not_be_used_is_one_line_and_status_2(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[list[str]], object],
    arguments: list[str],
    given: list[str],
    environment: dict[str, str],
    expected: str,
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        main([*arguments, *given])
    output, errors = capsys.readouterr()
    assert (caught.value.code, output, errors.count("\n")) == (2, "", 1), errors
    assert expected in errors
    assert SECRET[:12] not in errors
    assert SECRET[-12:] not in errors
    if "TRIONET_KEY" in environment and "cluster" not in expected:
        assert "TRIONET_KEY" not in os.environ


@each_command
def test_without_the_extra_a_key_is_refused_with_how_to_install_it(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    main: Callable[[list[str]], object],
    arguments: list[str],
) -> None:
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(SystemExit) as caught:
        main([*arguments, "--key-file", "good.key"])
    output, errors = capsys.readouterr()
    assert (caught.value.code, output, errors.count("\n")) == (2, "", 1), errors
    assert "pip install 'trionet[secure]'" in errors


@pytest.mark.parametrize("ip", ["0.0.0.0", "::", "192.0.2.1", "example.com"])
def test_beyond_loopback_a_node_needs_a_key_or_to_be_insecure(ip: str, folder: Path) -> None:
    advertised: dict[str, Any] = {"ip": ip, "advertise_ip": "192.0.2.1"}
    with pytest.raises(ConfigError) as caught:
        NodeConfig(**advertised).check_bind()
    for remedy in (ip, "trionet keys new FILE", "--key-file", "127.0.0.1", "insecure=True"):
        assert remedy in str(caught.value)
    assert "\n" not in str(caught.value)
    NodeConfig(**advertised).check_bind(has_key=True)
    NodeConfig(**advertised, key_file="good.key").check_bind()
    NodeConfig(**advertised, insecure=True).check_bind()


async def test_a_node_with_a_key_listens_beyond_loopback_and_one_whose_key_is_wrong_does_not(folder: Path) -> None:
    async with open_node(NodeConfig(**BEYOND, key_file="good.key")) as node:
        assert await trio.to_thread.run_sync(refusal_by, node.address) is Refusal.PLAIN
    with pytest.raises(ConfigError, match="mode 0644"):
        async with open_node(NodeConfig(**BEYOND, key_file="open.key")):
            pass


def test_an_option_has_priority_over_the_environment_and_the_key_of_the_environment_is_taken(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert keys_of(NodeConfig()) is None
    monkeypatch.setenv("TRIONET_KEY", KEY)
    keys = keys_of(NodeConfig(cluster="shop"))
    assert keys is not None
    assert (keys.cluster, keys.sealing.key_id) == ("shop", key_of(1).id)
    assert "TRIONET_KEY" not in os.environ
    assert keys_of(NodeConfig()) is None


@pytest.fixture
def start(folder: Path) -> Generator[Callable[..., subprocess.Popen[str]]]:
    """Start a command as a process; all are killed in the end."""
    running = []

    def start(*arguments: str, **environment: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [sys.executable, "-m", *arguments, "--json"],
            cwd=folder,
            env=clean_environment() | {"PYTHONPATH": str(ROOT)} | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        running.append(process)
        return process

    yield start
    for process in running:
        process.kill()
        process.communicate()


async def ready(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Return what a command prints when it is ready."""
    assert process.stdout is not None
    line = await trio.to_thread.run_sync(process.stdout.readline)
    assert line, process.stderr and process.stderr.read()
    found: dict[str, Any] = json.loads(line)
    return found


SOURCES: dict[str, tuple[list[str], dict[str, str]]] = {
    "an option": (["--key-file", "good.key"], {}),
    "an option in place of a variable": (["--key-file", "good.key"], {"TRIONET_KEY_FILE": "nowhere.key"}),
    "a variable with a path": ([], {"TRIONET_KEY_FILE": "good.key"}),
    "a variable with a key": ([], {"TRIONET_KEY": KEY}),
}


@pytest.mark.slow
@pytest.mark.parametrize(("given", "environment"), SOURCES.values(), ids=list(SOURCES))
async def test_the_nodes_of_up_have_the_key_and_answer_only_those_that_have_it(
    start: Callable[..., subprocess.Popen[str]], given: list[str], environment: dict[str, str]
) -> None:
    settings = json.dumps({**BEYOND, "cluster": "shop"})
    process = start("trionet", "up", "2", "--config", settings, *given, **environment)
    with trio.fail_after(DEADLINE_S):
        addresses = [NodeAddress(node["ip"], node["port"]) for node in (await ready(process))["nodes"]]
        for address in addresses:
            assert await trio.to_thread.run_sync(refusal_by, address) is Refusal.PLAIN
        async with open_node(NodeConfig(key_file="good.key", cluster="shop")) as node:
            get = Remote(node=addresses[0], gid="all", service="status", method="get")
            ports = await node.local.comm.send(["port"], get)
            assert sorted(ports.value) == sorted(address.port for address in addresses)
        process.send_signal(signal.SIGINT)
        await wait_until(lambda: process.poll() is not None)
    assert process.returncode == 0


@pytest.mark.slow
async def test_a_node_of_the_command_has_the_key_of_its_environment_and_no_child_inherits_the_variable(
    start: Callable[..., subprocess.Popen[str]],
) -> None:
    process = start("trionet.cli.node", "--on-start", "tests.keyed_nodes:keep", TRIONET_KEY=KEY)
    with trio.fail_after(DEADLINE_S):
        found = await ready(process)
        address = NodeAddress(found["ip"], found["port"])
        assert await trio.to_thread.run_sync(refusal_by, address) is Refusal.PLAIN
        async with open_node(NodeConfig(key_file="good.key")) as node:
            names = await node.local.comm.send([], Remote(node=address, service="keeper", method="variables"))
            assert names == []
        process.terminate()
        await wait_until(lambda: process.poll() is not None)
