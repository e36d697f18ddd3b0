"""``trionet ping``, ``top`` and ``demo`` as a person sees them: on a terminal, and with what goes wrong."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import run
from tests.node_processes import ROOT, NodeProcess, clean_environment, launch, wait_ready
from tests.ports import free_port
from tests.waiting import DEADLINE_S, is_running
from trionet import NodeAddress, NodeConfig, NodeUnreachable
from trionet.cli.datagram_pings import resolved_node

if TYPE_CHECKING:
    from collections.abc import Generator

pytestmark = pytest.mark.slow

_STYLE = re.compile(rb"\x1b\[[0-9;]*m|\x1b\[K")
ENTER, LEAVE = b"\x1b[?1049h\x1b[?25l", b"\x1b[?25h\x1b[?1049l"


@pytest.fixture(scope="module")
def nodes() -> Generator[list[NodeProcess]]:
    """A cluster of three processes."""
    with ExitStack() as stack:
        faults = "tests.doctored:expose"
        first = wait_ready(launch(stack, NodeConfig(join=[], on_start=faults), {}))
        join = [str(first.address)]
        yield [first, *(wait_ready(launch(stack, NodeConfig(join=join, on_start=faults), {})) for _ in range(2))]


class Terminal:
    """A command on a terminal of its own.

    Attributes:
        pid: of its process.
        seen: all that it has written.
    """

    def __init__(self, *words: str, width: int = 100, height: int = 30) -> None:
        self.pid, self._descriptor = pty.fork()
        if self.pid == 0:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))  # before it draws
            os.chdir(ROOT)
            sizes = ("COLUMNS", "LINES")  # which pytest's workers have, and which would be believed
            environment = {name: value for name, value in clean_environment().items() if name not in sizes}
            words = (sys.executable, "-m", "trionet", *words)
            os.execvpe(sys.executable, words, environment | {"TERM": "xterm"})
        self.seen = b""
        self._status: int | None = None

    def resize(self, width: int, height: int) -> None:
        fcntl.ioctl(self._descriptor, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    @property
    def screen(self) -> list[str]:
        """The lines of what was drawn last."""
        drawn = self.seen.rpartition(b"\x1b[H")[2].partition(b"\x1b[J")[0]
        return _STYLE.sub(b"", drawn).decode().replace("\r", "").split("\n")

    def read(self) -> bool:
        """Read for a moment; return whether it still runs."""
        with suppress(OSError):  # it has ended
            if select.select([self._descriptor], [], [], 0.05)[0]:
                data = os.read(self._descriptor, 65_536)
                self.seen += data
                return bool(data)
            return True
        return False

    def wait_for(self, text: str) -> None:
        """Read until the screen has this text."""
        end = time.monotonic() + DEADLINE_S
        while not any(text in line for line in self.screen):
            assert self.read(), self.seen
            assert time.monotonic() < end, self.screen

    def wait_written(self, data: bytes) -> None:
        """Read until this was written, and forget all until then."""
        end = time.monotonic() + DEADLINE_S
        while data not in self.seen:
            assert self.read(), self.seen
            assert time.monotonic() < end, self.seen
        self.seen = self.seen.partition(data)[2]

    def is_raw(self) -> bool:
        """Whether keys come one at a time."""
        return not termios.tcgetattr(self._descriptor)[3] & termios.ICANON

    def wait(self) -> int:
        """Read to the end; return the exit status."""
        while self.read():
            continue
        if self._status is None:
            self._status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        return self._status

    def close(self) -> None:
        with suppress(ProcessLookupError):
            if self._status is None:
                os.kill(self.pid, signal.SIGKILL)
                os.kill(self.pid, signal.SIGCONT)
                self.wait()
        os.close(self._descriptor)


@contextmanager
def on_terminal(*words: str, **size: int) -> Generator[Terminal]:
    terminal = Terminal(*words, **size)
    try:
        yield terminal
    finally:
        terminal.close()


def test_top_fills_the_screen_obeys_keys_and_gives_the_terminal_back(nodes: list[NodeProcess]) -> None:
    addresses = [str(node.address) for node in nodes]
    with on_terminal("top", addresses[0], "--interval", "0.3") as terminal:
        terminal.wait_for("3 alive")
        assert terminal.seen.startswith(ENTER)
        assert terminal.is_raw()
        for address in addresses:
            terminal.wait_for(address)
        terminal.type("h")
        terminal.wait_for("any key: back")
        terminal.type("x")
        terminal.wait_for("by address, every 0.3 s")
        terminal.type("c")
        terminal.wait_for("by calls")
        terminal.type(" ")
        terminal.wait_for("paused")
        terminal.type(" q")
        assert terminal.wait() == 0
        assert terminal.seen.endswith(LEAVE)


def test_top_follows_the_size_of_the_terminal(nodes: list[NodeProcess]) -> None:
    with on_terminal("top", str(nodes[0].address), width=40, height=10) as terminal:
        terminal.wait_for("alive")
        assert max(map(len, terminal.screen)) <= 40
        assert len(terminal.screen) <= 10
        assert not any("HEALTH" in line for line in terminal.screen)
        terminal.resize(200, 50)
        terminal.wait_for("HEALTH")
        terminal.type("q")
        assert terminal.wait() == 0


@pytest.mark.parametrize(
    ("how", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)], ids=str
)
def test_a_signal_ends_top_and_gives_the_terminal_back(nodes: list[NodeProcess], how: int, status: int) -> None:
    with on_terminal("top", str(nodes[0].address)) as terminal:
        terminal.wait_for("alive")
        if how == signal.SIGINT:
            terminal.type("\x03")  # Ctrl-C
        else:
            os.kill(terminal.pid, how)
        assert terminal.wait() == status
        assert terminal.seen.endswith(LEAVE)


def test_ctrl_z_gives_the_terminal_back_until_top_goes_on(nodes: list[NodeProcess]) -> None:
    with on_terminal("top", str(nodes[0].address), "--interval", "0.3") as terminal:
        terminal.wait_for("alive")
        terminal.type("\x1a")  # Ctrl-Z
        terminal.wait_written(LEAVE)
        pid, state = os.waitpid(terminal.pid, os.WUNTRACED)
        assert (pid, os.WIFSTOPPED(state)) == (terminal.pid, True)
        assert not terminal.is_raw()
        os.kill(terminal.pid, signal.SIGCONT)
        terminal.wait_written(ENTER)
        terminal.wait_for("alive")
        assert terminal.is_raw()
        terminal.type("q")
        assert terminal.wait() == 0


def test_top_goes_on_when_the_node_is_gone_and_ends_when_there_was_none() -> None:
    with ExitStack() as stack:
        node = wait_ready(launch(stack, NodeConfig(), {}))
        with on_terminal("top", str(node.address), "--interval", "0.3") as terminal:
            terminal.wait_for("1 alive")
            node.process.kill()
            terminal.wait_for("no connection to")
            terminal.wait_for(str(node.address))
            terminal.type("q")
            assert terminal.wait() == 1
    with on_terminal("top", f"127.0.0.1:{free_port()}") as terminal:
        assert terminal.wait() == 1
        assert terminal.seen.partition(LEAVE)[2].startswith(b"trionet top: no connection to 127.0.0.1:")


def test_top_shows_a_stopped_member_as_silent(nodes: list[NodeProcess]) -> None:
    os.kill(nodes[2].pid, signal.SIGSTOP)
    try:
        done = run("top", str(nodes[0].address), "--count", "1", "--interval", "0.2")
    finally:
        os.kill(nodes[2].pid, signal.SIGCONT)
    (row,) = [line for line in done.out.splitlines() if line.startswith(f"{nodes[2].address} ")]
    assert re.search(r" (silent|suspect|failed) ", row)


def test_the_lines_of_json_of_top_are_as_many_as_were_asked_for(nodes: list[NodeProcess]) -> None:
    done = run("top", str(nodes[0].address), "--json", "--count", "2", "--interval", "0.2")
    assert done.status == 0
    for document in done.documents:
        assert [member["address"] for member in document["members"]] == sorted(
            (str(node.address) for node in nodes), key=lambda address: int(address.rpartition(":")[2])
        )
    assert len(done.documents) == 2


def ping(*words: str, **environment: Any) -> Any:
    done = run("ping", *words, "--json", "--count", "3", "--interval", "0.05", **environment)
    return done.status, {one["address"]: one for one in done.document}


def act(node: NodeProcess, method: str) -> None:
    assert run("call", str(node.address), f"faults/{method}").status == 0


def test_ping_measures_links_and_datagrams_of_each_node(nodes: list[NodeProcess]) -> None:
    addresses = [str(node.address) for node in nodes]
    status, found = ping(*addresses, addresses[0], "--wait", "20")
    assert status == 0
    assert list(found) == addresses  # each once
    for one in found.values():
        assert one["error"] is None
        for way in ("link", "datagrams"):
            assert (one[way]["sent"], one[way]["received"], one[way]["loss"]) == (3, 3, 0.0)
            assert 0 < one[way]["min_ms"] <= one[way]["median_ms"] <= one[way]["max_ms"]


@pytest.mark.skipif(sys.platform != "linux", reason="the fault is Linux's")
@pytest.mark.parametrize("fault", ["deaf", "mute"])
def test_lost_datagrams_are_counted_and_links_are_not(nodes: list[NodeProcess], fault: str) -> None:
    act(nodes[1], fault)
    try:
        status, found = ping(str(nodes[0].address), str(nodes[1].address))
        lossy = run("ping", str(nodes[1].address), "--count", "1", "--wait", "0.3")
    finally:
        act(nodes[1], "heal")
    assert status == 1
    assert [one["datagrams"]["loss"] for one in found.values()] == [0.0, 1.0]
    assert [one["link"]["loss"] for one in found.values()] == [0.0, 0.0]
    assert "blocked? see trionet doctor" in lossy.out


def test_a_node_that_is_not_there_is_a_row_among_others(nodes: list[NodeProcess]) -> None:
    nobody = f"127.0.0.1:{free_port()}"
    status, found = ping(str(nodes[0].address), nobody)
    assert status == 1
    assert found[nobody]["error"]["type"] == "NodeUnreachable"
    assert found[str(nodes[0].address)]["link"]["received"] == 3


def test_a_host_name_is_resolved_for_datagrams(nodes: list[NodeProcess]) -> None:
    status, found = ping(f"localhost:{nodes[0].address.port}")
    (one,) = found.values()
    assert (status, one["datagrams"]["received"]) == (0, 3)


async def test_a_name_that_no_codec_accepts_cannot_be_resolved() -> None:
    with pytest.raises(NodeUnreachable, match="can't be resolved"):
        await resolved_node(NodeAddress("\N{SNOWMAN}", 80))


def test_with_a_key_links_and_datagrams_are_sealed_and_answered(tmp_path: Any) -> None:
    key_file = tmp_path / "cluster.key"
    assert run("keys", "new", str(key_file)).status == 0
    text = key_file.read_text(encoding="ascii").split()[0]
    with ExitStack() as stack:
        node = wait_ready(launch(stack, NodeConfig(join=[], key_file=str(key_file)), {}))
        status, found = ping(str(node.address), "--key-file", str(key_file), "--wait", "20")
        assert (status, found[str(node.address)]["datagrams"]["received"]) == (0, 3)
        status, found = ping(str(node.address), "--wait", "20", TRIONET_KEY=text)
        assert (status, found[str(node.address)]["datagrams"]["received"]) == (0, 3)
        refused = run("ping", str(node.address))
        assert (refused.status, "cluster key" in refused.err, "--key-file FILE" in refused.err) == (1, True, True)
        checked = run("doctor", str(node.address), "--key-file", str(key_file), "--json")
        assert [one for one in checked.document["findings"] if one["check"] != "lag"] == []


def demo(*words: str, before: str = "pass") -> subprocess.CompletedProcess[str]:
    """Run the demo, after this statement."""
    program = f"import trionet.cli.demo as demo; {before}; demo.main({list(words)!r})"
    return subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        env=clean_environment(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_demo_shows_each_step_checks_it_and_leaves_no_process() -> None:
    done = demo()
    assert (done.returncode, done.stderr) == (0, "")
    steps = re.findall(r"^(\d)\. ", done.stdout, re.MULTILINE)
    assert steps == list("1234567")
    for text in ("Nodes", "A call", "A group-wide call", "A rumor", "A death", "The repair", "The end"):
        assert f". {text}" in done.stdout
    assert done.stdout.endswith("docs/first-cluster.md\n")
    assert "All results are as expected." in done.stdout
    pids = set(map(int, re.findall(r"from process (\d+)", done.stdout)))
    assert len(pids) == 6
    assert not any(map(is_running, pids))


@pytest.mark.parametrize(
    ("before", "text"),
    [
        ("import trionet; demo.Greeter = trionet.service('nobody')(demo.Greeter)", "ServiceNotFound: "),
        ("demo._show = lambda replies: replies.values.clear()", "an answer of every worker, but saw"),
        ("demo._GROUP = 'no name'", "when it started nodes: MalformedRequest: "),
        ("demo._DEADLINE_S = 0.01", "it was not done after 0 s"),
    ],
)
def test_a_demo_in_which_something_goes_wrong_says_so(before: str, text: str) -> None:
    done = demo(before=before)
    assert done.returncode == 1
    assert "All results are as expected" not in done.stdout
    assert done.stderr.startswith("\nThe demo failed when it ")
    assert text in done.stderr
    assert "Traceback" not in done.stderr
