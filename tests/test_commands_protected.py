"""Commands and protected nodes: with a key, a certificate, or a bearer token over HTTP and HTTPS."""

from __future__ import annotations

import json
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.certificates import CertificateAuthority
from tests.commands import Done, run
from tests.node_processes import PROBE, launch, wait_ready
from trionet import NodeConfig

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

SERVICES = {**PROBE, "ticker": "tests.samples:Ticker"}


class Protected(NamedTuple):
    """A node with a key.

    Attributes:
        address: its address.
        key: the options with its key.
        folder: holds files with tokens: ``read``, ``call`` and ``admin``.
        ca: the options of a client over HTTPS; none where the node has no certificate.
    """

    address: str
    key: list[str]
    folder: Path
    ca: list[str]

    def token(self, scope: str) -> list[str]:
        """Return the options with a token."""
        return ["--token", str(self.folder / scope), *self.ca]


@pytest.fixture(scope="module", params=["key", "key and certificate"])
def node(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Generator[Protected]:
    folder = tmp_path_factory.mktemp("protected")
    path = str(folder / "cluster.key")
    assert run("keys", "new", path).status == 0
    for scope in ("read", "call", "admin"):
        (folder / scope).write_text(run("keys", "token", "--key-file", path, "--scope", scope).out, encoding="ascii")
    settings: dict[str, Any] = {"key_file": path}
    ca: list[str] = []
    if request.param != "key":
        settings |= CertificateAuthority(folder).issue(hosts=("127.0.0.1",))
        ca = ["--ca-file", settings["ca_file"]]
    options = [part for name, value in settings.items() for part in (f"--{name.replace('_', '-')}", value)]
    with ExitStack() as stack:
        process = wait_ready(launch(stack, NodeConfig(join=[], services=SERVICES, **settings), {}))
        yield Protected(str(process.address), options, folder, ca)


def one_line(done: Done, status: int) -> str:
    assert (done.status, done.err.count("\n")) == (status, 1), done
    return done.err


def test_with_the_key_every_command_works(node: Protected) -> None:
    for name in ("members", "groups", "services", "events", "status", "statistics", "config", "tags", "logs"):
        done = run(name, node.address, *node.key, "--json")
        assert (done.status, done.err) == (0, ""), name
        assert done.document is not None
    assert run("members", node.address, "--all", *node.key).status == 0
    assert run("call", node.address, "probe/sleep", "0", *node.key).out == "slept\n"
    assert run("call", node.address, "ticker/ticks", "2", "--stream", *node.key).out == "0\n1\n"
    assert run("gossip", node.address, "probe/pid", *node.key, "--json").document["known"] == 1
    assert run("status", node.address, *node.key, "--json").document["protection"] in ("key", "certificate")


def test_the_key_may_come_from_the_environment(node: Protected) -> None:
    names = node.key[::2]
    environment = {
        f"TRIONET_{name[2:].replace('-', '_').upper()}": node.key[2 * at + 1] for at, name in enumerate(names)
    }
    assert run("members", node.address, width=None, **environment).status == 0


def test_without_a_proof_nothing_works(node: Protected, tmp_path: Path) -> None:
    assert "no connection" in one_line(run("members", node.address), 1)
    assert run("keys", "new", str(tmp_path / "other")).status == 0
    done = run("members", node.address, "--key-file", str(tmp_path / "other"), "--json")
    assert (done.status, done.document["error"]["type"]) == (1, "KeyMismatch")


def test_a_token_is_enough_for_what_its_scope_permits(node: Protected) -> None:
    for name in ("members", "groups", "services", "events", "status", "statistics", "config", "tags", "logs"):
        done = run(name, node.address, *node.token("read"), "--json")
        assert (done.status, done.err) == (0, ""), (name, done)
    assert "scope call" in one_line(run("call", node.address, "probe/sleep", "0", *node.token("read")), 1)
    assert run("call", node.address, "probe/sleep", "0", *node.token("call")).out == "slept\n"
    assert run("call", node.address, "ticker/ticks", "2", "--stream", *node.token("call")).out == "0\n1\n"
    assert "scope admin" in one_line(run("tags", node.address, "a=b", *node.token("call")), 1)
    assert run("tags", node.address, "a=b", *node.token("admin"), "--json").document == {"a": "b"}
    assert run("members", node.address, "--all", *node.token("call")).status == 0


def test_a_token_may_come_from_the_environment(node: Protected) -> None:
    token = (node.folder / "read").read_text(encoding="ascii").strip()
    assert run("members", node.address, *node.ca, TRIONET_TOKEN=token).status == 0


def test_a_wrong_token_is_refused_and_never_shown(node: Protected) -> None:
    token = (node.folder / "read").read_text(encoding="ascii").strip()
    wrong = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    done = run("members", node.address, *node.ca, TRIONET_TOKEN=wrong)
    assert wrong not in one_line(done, 1)


def test_the_configuration_and_the_logs_show_no_secret(node: Protected) -> None:
    with open(node.key[1], encoding="ascii") as file:
        key = file.readline().strip()
    token = (node.folder / "read").read_text(encoding="ascii").strip()
    for name in ("config", "status", "logs", "events", "services"):
        shown = run(name, node.address, *node.key, "--json").out
        assert key not in shown
        assert token not in shown
    settings = {
        one["setting"]: one["value"] for one in json.loads(run("config", node.address, *node.key, "--json").out)
    }
    assert settings["key_file"] == node.key[1]


def test_keys_are_operated_in_json_too(node: Protected) -> None:
    status = run("keys", "status", node.address, *node.key, "--json").document
    assert [key["state"] for key in status["keys"]] == ["used"]
    assert run("keys", "reload", node.address, *node.key, "--json").document == {"done": "reload"}
    assert run("reload", node.address, *node.key, "--json").document == {"reloaded": node.address}
    assert "8 hex digits" in one_line(run("keys", "use", node.address, "x", *node.key), 1)
