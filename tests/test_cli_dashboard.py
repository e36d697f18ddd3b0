"""``trionet dashboard`` opens the page of a node; with a key by a ticket, never with the token itself."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
import pytest
import trio

from tests.keyed_nodes import new_file
from tests.security.keys import key_of
from tests.transports.keyed_nodes import open_keyed, request, token
from trionet import ConfigError, NodeAddress, NodeConfig, open_node
from trionet.cli.client import Access
from trionet.cli.commands import dashboard
from trionet.cli.commands.dashboard import page_url
from trionet.errors import NodeUnreachable, NotPermitted
from trionet.security.key_entries import KeyFile
from trionet.security.node_keys import NodeKeys
from trionet.security.token_scope import Scope

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = Access(NodeConfig())
HOLDER = Access(NodeConfig(), NodeKeys(KeyFile.of(key_of(1)), "trionet"))


async def session(node_url: str, node: object) -> dict[str, object]:
    """Return what the page gets for the ticket in its URL."""
    base, _, ticket = node_url.partition("#token=")
    assert base.endswith("/")
    response = await request(node, "/dashboard/session", "", method="POST", bearer=ticket)  # type: ignore[arg-type]
    found: dict[str, object] = response.json()
    return found


async def test_without_a_key_the_url_is_the_address() -> None:
    async with open_node() as node:
        assert await page_url(node.address, PLAIN, "read", 8) == f"http://{node.address}/"


@pytest.mark.parametrize("scope", ["read", "call", "admin"])
async def test_with_a_key_the_page_gets_a_token_of_the_scope(scope: str) -> None:
    async with open_keyed() as node:
        url = await page_url(node.address, HOLDER, scope, 8)
        assert "trionet-token" not in url
        assert (await session(url, node))["scope"] == scope


async def test_with_a_token_the_page_gets_that_one() -> None:
    async with open_keyed() as node:
        mine = token(Scope.READ)
        url = await page_url(node.address, Access(NodeConfig(), None, mine), "admin", 8)
        assert mine not in url
        found = await session(url, node)
        assert (found["token"], found["scope"]) == (mine, "read")


async def test_what_cannot_be_opened_is_told_with_what_to_do() -> None:
    async with open_keyed() as node:
        with pytest.raises(ConfigError, match="--key-file"):
            await page_url(node.address, PLAIN, "read", 8)
        with pytest.raises(NotPermitted, match="refuses the token"):
            await page_url(node.address, Access(NodeConfig(), None, token(seed=2)), "read", 8)
        with pytest.raises(ConfigError, match="--hours"):
            await page_url(node.address, HOLDER, "read", -1)
    with pytest.raises(NodeUnreachable):
        await page_url(node.address, PLAIN, "read", 8)
    with pytest.raises(ConfigError, match="ssh -L"):
        await page_url(NodeAddress("192.0.2.1", 80), HOLDER, "read", 8)
    with pytest.raises(ConfigError, match="TLS"):
        await page_url(NodeAddress("127.0.0.1", 80), Access(NodeConfig(), None, "x", "none.pem"), "read", 8)


async def test_the_command_prints_the_url_and_opens_a_browser_where_there_is_a_screen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", opened.append)
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.delenv("TRIONET_TOKEN", raising=False)
    file = new_file(tmp_path)
    async with open_keyed() as node:
        for more, count in (([], 1), (["--no-browser"], 1), (["--json"], 1)):
            options = dashboard.COMMANDS["dashboard"].options([str(node.address), "--key-file", file, *more])
            dashboard.COMMANDS["dashboard"].take_address(options)
            assert await dashboard.COMMANDS["dashboard"]._run(options)  # noqa: SLF001  in this process
            printed = capsys.readouterr().out.strip()
            url = msgspec.json.decode(printed)["url"] if "--json" in more else printed
            assert url.startswith(f"http://{node.address}/#token=trionet-ticket-v1.")
            assert len(opened) == count
    assert opened[0] != printed
    await trio.lowlevel.checkpoint()


@pytest.mark.parametrize(
    ("system", "variables", "has"),
    [("linux", {}, False), ("linux", {"WAYLAND_DISPLAY": "w"}, True), ("darwin", {}, True)],
)
def test_a_browser_is_opened_where_it_has_a_screen(
    system: str, variables: dict[str, str], has: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("sys.platform", system)
    assert dashboard.has_display() is has
