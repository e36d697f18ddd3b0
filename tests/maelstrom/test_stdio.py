"""A node as a process, on pipes, files, sockets and terminals."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.children import child

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

pytestmark = pytest.mark.slow

PATIENCE_S = 60

PROGRAM = """
import os, subprocess, sys, trio
from trionet.maelstrom import MaelstromNode, run

node = MaelstromNode()

@node.on("echo")
def echo(message):
    return {"echo": message["echo"]}

@node.on("noise")
async def noise(message):
    print("printed by a handler")
    os.write(1, b"written to descriptor 1\\n")
    subprocess.run([sys.executable, "-c", "print('printed by a child')"])
    sys.__stdout__.write("written to the first stdout\\n")
    return {"input": sys.stdin.read()}

@node.on("fail")
def fail(message):
    raise LookupError("nothing there")

@node.on("big")
def big(message):
    return {"x": "x" * message["size"]}

@node.on("exit")
def leave(message):
    node.start_soon(crash)

async def crash():
    raise RuntimeError("a task failed")

run(node)
print("printed after")
"""
INIT = {"type": "init", "msg_id": 1, "node_id": "n1", "node_ids": ["n1"]}


def line(body: dict[str, Any], src: str = "c1") -> bytes:
    return json.dumps({"src": src, "dest": "n1", "body": body}).encode() + b"\n"


@pytest.fixture
def program(tmp_path: Path) -> list[str]:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return [sys.executable, str(path)]


def bodies(output: bytes) -> list[dict[str, Any]]:
    return [json.loads(each)["body"] for each in output.splitlines()]


@pytest.fixture
def process(program: list[str]) -> Generator[subprocess.Popen[bytes]]:
    pipe = subprocess.PIPE
    with child(program, stdin=pipe, stdout=pipe, stderr=pipe) as process:
        yield process


def test_nothing_but_messages_reaches_standard_output(program: list[str]) -> None:
    data = line(INIT) + line({"type": "noise", "msg_id": 2}) + line({"type": "fail", "msg_id": 3})
    done = subprocess.run(program, input=data, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0
    assert sorted(bodies(done.stdout), key=lambda body: int(body["in_reply_to"])) == [
        {"type": "init_ok", "in_reply_to": 1},
        {"type": "noise_ok", "input": "", "in_reply_to": 2},
        {"type": "error", "code": 13, "text": "LookupError: nothing there", "in_reply_to": 3},
    ]
    for said in (b"by a handler", b"descriptor 1", b"by a child", b"first stdout", b"printed after"):
        assert said in done.stderr
    assert b"Traceback" in done.stderr
    assert b"nothing there" in done.stderr


def test_garbage_is_logged_and_the_node_continues(program: list[str]) -> None:
    garbage = [b"{bad", b"\xff\xfe\x00", b"[" * 1_000_000, b"x" * 70_000_000, b"", b'{"src": 1}', b"null"]
    data = line(INIT) + b"\n".join(garbage) + b"\n" + line({"type": "unknown", "msg_id": 2})
    data += line({"type": "echo", "msg_id": 3, "echo": "y" * 5_000_000})
    data += line({"type": "echo", "msg_id": 4, "echo": "the last line has no end"}).rstrip(b"\n")
    done = subprocess.run(program, input=data, capture_output=True, timeout=PATIENCE_S, check=False)
    assert done.returncode == 0
    init, unknown, long, last = bodies(done.stdout)
    assert init["type"] == "init_ok"
    assert (unknown["code"], unknown["in_reply_to"]) == (10, 2)
    assert long == {"type": "echo_ok", "echo": "y" * 5_000_000, "in_reply_to": 3}
    assert last["echo"] == "the last line has no end"
    assert done.stderr.count(b"a bad line is ignored") == 5
    assert b"a line of more than 67,108,864 bytes is ignored" in done.stderr


def test_a_line_is_answered_as_soon_as_it_is_there_however_it_is_cut(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    for piece in (line(INIT)[:7], line(INIT)[7:] + line({"type": "echo", "msg_id": 2, "echo": 1})[:-1]):
        process.stdin.write(piece)
        process.stdin.flush()
        time.sleep(0.05)  # so that the pieces are read one by one
    assert json.loads(process.stdout.readline())["body"]["type"] == "init_ok"
    process.stdin.write(b"\n")
    process.stdin.flush()
    assert json.loads(process.stdout.readline())["body"]["echo"] == 1


def test_a_slow_reader_receives_everything(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    requests = [line({"type": "big", "msg_id": number, "size": 300_000}) for number in range(2, 42)]
    process.stdin.write(line(INIT) + b"".join(requests))
    process.stdin.close()
    process.stdin = None
    time.sleep(0.5)  # the pipe is full by then
    lines = process.stdout.read().splitlines()
    assert [json.loads(each)["body"]["in_reply_to"] for each in lines] == list(range(1, 42))
    assert process.wait(PATIENCE_S) == 0


def test_a_closed_output_ends_the_node(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    process.stdin.write(line(INIT))
    process.stdin.flush()
    assert process.wait(PATIENCE_S) == 0


def test_ctrl_c_ends_it_without_a_traceback(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdin.write(line(INIT))
    process.stdin.flush()
    process.stdout.readline()
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 130
    assert b"Traceback" not in process.stderr.read()


def test_a_failing_task_ends_it_with_a_status_and_a_traceback(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    assert process.stderr is not None
    process.stdin.write(line(INIT) + line({"type": "exit"}))
    process.stdin.flush()
    assert process.wait(PATIENCE_S) == 1
    assert b"a task failed" in process.stderr.read()


def test_files_will_do(program: list[str], tmp_path: Path) -> None:
    given, taken = tmp_path / "in", tmp_path / "out"
    given.write_bytes(line(INIT) + line({"type": "echo", "msg_id": 2, "echo": 1}))
    with given.open("rb") as stdin, taken.open("wb") as stdout:
        subprocess.run(program, stdin=stdin, stdout=stdout, timeout=PATIENCE_S, check=True)
    assert [body["type"] for body in bodies(taken.read_bytes())] == ["init_ok", "echo_ok"]
    subprocess.run(program, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, timeout=PATIENCE_S, check=True)


def test_sockets_will_do_and_stay_blocking(program: list[str]) -> None:
    here, there = socket.socketpair()
    with here, there, child(program, stdin=there.fileno(), stdout=there.fileno()) as process:
        here.sendall(line(INIT) + line({"type": "big", "msg_id": 2, "size": 1_000_000}))
        time.sleep(0.2)
        assert os.get_blocking(there.fileno())
        there.close()
        received = b""
        while received.count(b"\n") < 2:
            received += here.recv(65536)
        here.shutdown(socket.SHUT_WR)
        assert process.wait(PATIENCE_S) == 0
    assert [body["type"] for body in bodies(received)] == ["init_ok", "big_ok"]


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="there are no terminals here")
def test_a_terminal_will_do_and_stays_blocking(program: list[str]) -> None:
    import tty

    here, there = os.openpty()
    tty.setraw(there)
    with child(program, stdin=there, stdout=there) as process:
        os.write(here, line(INIT))
        received = b""
        while not received.endswith(b"\n"):
            received += os.read(here, 65536)
        assert bodies(received) == [{"type": "init_ok", "in_reply_to": 1}]
        assert os.get_blocking(there)
        process.kill()
    os.close(here)
    os.close(there)


def test_pipes_that_are_shared_stay_blocking(program: list[str]) -> None:
    out, their_out = os.pipe()
    with child(program, stdin=subprocess.PIPE, stdout=their_out) as process:
        assert process.stdin is not None
        process.stdin.write(line(INIT))
        process.stdin.flush()
        assert os.read(out, 1000).endswith(b"}\n")
        assert os.get_blocking(their_out)
        process.stdin.close()
        assert process.wait(PATIENCE_S) == 0
    os.close(out)
    os.close(their_out)


def test_twenty_five_nodes_start_within_five_seconds_of_two_cores() -> None:
    """By processor time, which a busy machine changes least."""
    command = [sys.executable, "-m", "trionet.cli.glomers", "broadcast"]
    times = []
    for _ in range(3):
        before = os.times()
        subprocess.run(command, input=line(INIT), stdout=subprocess.DEVNULL, timeout=PATIENCE_S, check=True)
        after = os.times()
        times.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert 25 * min(times) / 2 < 5


@pytest.mark.parametrize(("stderr", "kind"), [("2>&-", "noise"), ("2>/dev/full", "fail")])
def test_messages_go_on_where_standard_error_is_closed_or_full(program: list[str], stderr: str, kind: str) -> None:
    data = line(INIT) + line({"type": kind, "msg_id": 2}) + b"{bad\n" + line({"type": "echo", "msg_id": 3, "echo": 1})
    command = ["sh", "-c", f'"$@" {stderr}', "sh", *program]
    done = subprocess.run(command, input=data, capture_output=True, timeout=PATIENCE_S, check=False)
    answers = {"noise": "noise_ok", "fail": "error"}
    assert [body["type"] for body in bodies(done.stdout)] == ["init_ok", answers[kind], "echo_ok"]
    assert done.returncode == 0


def test_without_standard_input_the_input_has_ended(program: list[str]) -> None:
    command = ["sh", "-c", '"$@" <&-', "sh", *program]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE_S, check=False)
    assert (done.returncode, done.stdout) == (0, b""), done.stderr
