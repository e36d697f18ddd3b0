"""Logins that talk, shells that can't run the command, no place for a log: `ssh` is a script that runs it here."""

from __future__ import annotations

import re
import sys
import tempfile
from typing import TYPE_CHECKING

import pytest
import trio

from tests.launchers.misfit import SERVICES, ask
from tests.node_processes import ROOT
from tests.waiting import DEADLINE_S
from trionet import NodeConfig, SpawnError, SSHLauncher, open_node

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [pytest.mark.slow]

NODE = ["env", f"PYTHONPATH={ROOT}", sys.executable, "-m", "trionet.cli.node"]
SSH = """\
#!/bin/sh
while [ "$1" != -- ]; do
    [ "$1" = -E ] && log=$2
    shift
done
{says}
eval "$3"
status=$?
[ -n "$log" ] && echo "Connection to $2 is a play" >> "$log"
exit $status
"""


@pytest.fixture
def play(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Have ``ssh`` be a script whose login says something first."""

    def play(says: str = "") -> None:
        script = tmp_path / "ssh"
        script.write_text(SSH.format(says=says), encoding="utf-8")
        script.chmod(0o755)

    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    return play


async def spawn(*command: str) -> None:
    """Start a node by ``ssh``, and have it answer."""
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            node.register_launcher("there", SSHLauncher("attic", command=command or NODE))
            address = await node.local.status.spawn(NodeConfig(launcher="there", services=SERVICES))
            assert await ask(node, address, "pid")


@pytest.mark.parametrize(
    "says",
    [
        "printf 'Last login: never'",
        r"printf '\033[1;32mWelcome\033[0m\r'; printf '\377\000\376'",
        "head -c 3000000 /dev/zero | tr '\\0' x",
        "(sleep 0.3; head -c 3000000 /dev/zero) &",
    ],
)
async def test_what_a_login_says_is_passed_over(play: Callable[[str], None], says: str) -> None:
    play(says)
    await spawn()


async def test_what_a_login_says_when_the_node_is_there_does_not_hold_it_up_at_its_end(
    play: Callable[[str], None], caplog: pytest.LogCaptureFixture
) -> None:
    play('trap "" TERM; eval "$3"; head -c 3000000 /dev/zero; exit 0')
    await spawn()
    assert "is killed" not in caplog.text


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (["trionet-node-of-attic"], "exit status 127; trionet-node-of-attic isn't on the PATH that a login without "),
        (["/no/such", "-m", "trionet.cli.node"], "exit status 127; /no/such isn't on attic: install trionet=="),
        (["env", "A=1", "no-such-node"], "exit status 127; env: "),
        (["/dev/null"], "exit status 126; /dev/null can't be executed on attic"),
        (["env", "/dev/null"], "exit status 126; env: "),
        (["false"], "exit status 1; false does not even tell its version on attic: does a start-up file of"),
    ],
)
async def test_a_command_that_the_far_shell_cannot_run_is_the_reason(
    play: Callable[[str], None], command: list[str], reason: str
) -> None:
    play("")
    with pytest.raises(SpawnError, match=f"ended before it had booted: {re.escape(reason)}"):
        await spawn(*command)


async def test_a_command_that_prints_without_end_and_one_that_is_killed_are_the_reason(
    play: Callable[[str], None],
) -> None:
    play('log=""')
    with pytest.raises(SpawnError, match="what the command prints on attic has no end: does it run trionet-node"):
        await spawn("sh", "-c", "yes $0", "trionet" * 1000)
    with pytest.raises(
        SpawnError, match=r"exit status 255; ssh gives no reason in its log; perhaps a signal has killed sh on attic"
    ):
        await spawn("sh", "-c", "exit 255")


async def test_a_tilde_that_begins_the_command_is_the_home_over_there(
    play: Callable[[str], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "my venv").mkdir()
    (tmp_path / "my venv" / "node").symlink_to("/usr/bin/env")
    play("")
    await spawn("~/my venv/node", *NODE[1:])
    assert SSHLauncher("attic", command=["~/my venv/node", "~", "~/x"]).command_line[-1] == (
        "~/'my venv/node' '~' '~/x' --supervised-many"
    )


async def test_without_a_folder_for_temporary_files_ssh_says_its_reason_too(
    play: Callable[[str], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    play("")
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    await spawn()
    with pytest.raises(SpawnError, match=r"exit status 1; false does not even .*; Connection to attic is a play"):
        await spawn("false")


async def test_a_host_that_is_no_argument_is_refused(play: Callable[[str], None]) -> None:
    play("")
    with trio.fail_after(DEADLINE_S):
        async with open_node() as node:
            with pytest.raises(SpawnError, match="can't start ssh: embedded null byte"):
                await node.local.status.spawn(NodeConfig(launcher="ssh:at\0tic"))
