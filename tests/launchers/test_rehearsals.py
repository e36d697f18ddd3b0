"""A fork server that has nothing to do rehearses, and requests go first."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.waiting import DEADLINE_S

pytestmark = [pytest.mark.slow]

SERVE = """
import os, socket, sys
from trionet.cli import forkserver
from trionet.launchers.forked import RECORD

ours, theirs = socket.socketpair()
said = []

def rehearse():
    said.append("rehearsal")
    {rehearse}
    return True

server = forkserver._ForkServer(theirs, [], rehearse)
real_send = server.send
server.send = lambda record: (said.append(chr(record[0])), real_send(record))
{before}
server.serve()
print(*said)
"""


def served(*, rehearse: str, before: str = "") -> list[str]:
    """Return what a fork server has done, in order: records that it has sent, and rehearsals."""
    program = SERVE.format(rehearse=rehearse, before=before)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=DEADLINE_S)
    return done.stdout.decode().split()


def test_a_request_is_served_before_the_next_rehearsal() -> None:
    ask, end = 'ours.sendall(RECORD.pack(b"A", 0, 0))', "ours.close()"
    assert served(rehearse=f"{end} if len(said) > 3 else {ask}") == ["R", "rehearsal", "A", "rehearsal"]


def test_requests_that_have_come_already_go_before_any_rehearsal() -> None:
    before = 'ours.sendall(RECORD.pack(b"A", 0, 0))'
    assert served(rehearse="ours.close()", before=before) == ["R", "A", "rehearsal"]


def test_it_ends_with_its_launcher_and_rehearses_no_more() -> None:
    assert served(rehearse="ours.close()") == ["R", "rehearsal"]


def test_it_does_not_rehearse_while_it_has_a_node() -> None:
    # A process that ends by itself stands for the node; its launcher goes when that has been reported.
    before = """
pid = os.fork()
if pid == 0:
    os._exit(0)
server.pids[1], server._numbers[pid] = pid, 1
    """
    assert served(rehearse="ours.close()", before=before) == ["R", "X", "rehearsal"]


def test_after_a_rehearsal_that_could_not_run_there_is_none() -> None:
    # The request of the only one is the last that there is to do: a second one would ask again.
    rehearse = 'ours.sendall(RECORD.pack(b"A", 0, 0)); ours.shutdown(socket.SHUT_WR); return False'
    assert served(rehearse=rehearse) == ["R", "rehearsal", "A"]


def test_it_waits_for_a_moment_after_each_record_and_only_then() -> None:
    before = """
import select
class Poll:
    real = select.poll
    def __init__(self):
        self.poll_for = Poll.real().poll
        self.register = self.poll_for.__self__.register
    def poll(self, limit_ms):
        said.append(str(limit_ms))
        return self.poll_for(limit_ms)
select.poll = Poll
"""
    rehearse = 'ours.close() if len(said) > 7 else len(said) > 4 and ours.sendall(RECORD.pack(b"A", 0, 0))'
    rehearsals = ["50", "rehearsal", "0", "rehearsal", "0", "A", "50", "rehearsal", "0"]
    assert served(rehearse=rehearse, before=before) == ["R", *rehearsals]


MODULES = """
import sys, trio
from trionet.cli import node
from trionet.config import NodeConfig
from trionet.runtime import open_node

async def main():
    async with open_node(NodeConfig(join=[])):
        before = set(sys.modules)
    print(*before)

trio.run(main)
"""
ON_USE = {
    "trionet.cli.supervised",
    "trionet.group",
    "trionet.launchers.forkserver",
    "trionet.launchers.ssh",
    "trionet.launchers.supervised",
    "trionet.policy",
    "trionet.running_calls",
    "trionet.templates.base",
    "trionet.transports.web",
    "fractions",
    "json",
    "tomllib",
}


def test_a_node_at_rest_has_not_imported_what_only_some_nodes_use() -> None:
    done = subprocess.run([sys.executable, "-c", MODULES], capture_output=True, check=True, timeout=DEADLINE_S)
    imported = set(done.stdout.decode().split())
    assert "trionet.node" in imported
    assert not ON_USE & imported
