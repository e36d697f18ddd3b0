"""``trionet-node`` as a person or a service manager sees it: always a process of its own."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio

from tests import samples
from tests.node_processes import ROOT, clean_environment
from tests.waiting import DEADLINE_S, is_listening, wait_until
from trionet import NodeAddress, NodeConfig, Remote, open_node
from trionet.cli.node import main

pytestmark = pytest.mark.slow


def _run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the command to its end."""
    return subprocess.run(
        [sys.executable, "-m", "trionet.cli.node", *arguments],
        cwd=ROOT,
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        check=False,
    )


class Command:
    """A running ``trionet-node``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.ready: dict[str, Any] = {}

    async def read_line(self) -> str:
        """Return the next line that it prints."""
        assert self.process.stdout is not None
        return await trio.to_thread.run_sync(self.process.stdout.readline)

    @property
    def address(self) -> NodeAddress:
        return NodeAddress(self.ready["ip"], self.ready["port"])

    async def wait(self) -> int:
        """Return the exit status, once it has ended; nothing more was printed then."""
        await wait_until(lambda: self.process.poll() is not None)
        assert self.process.stdout is not None
        assert self.process.stdout.read() == ""
        return self.process.returncode

    def stderr(self) -> str:
        """Return what it wrote to standard error; it has ended."""
        assert self.process.stderr is not None
        return self.process.stderr.read()


class Commands:
    """Starts commands; they are killed with the test."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def launch(self, *arguments: str, **environment: str) -> Command:
        return self.launch_module("trionet.cli.node", *arguments, **environment)

    def launch_module(self, *command: str, **environment: str) -> Command:
        process = self._stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-m", *command],
                cwd=ROOT,
                env=clean_environment() | environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        return Command(process)

    async def start(self, *arguments: str, **environment: str) -> Command:
        """Return a command that has said where it listens."""
        command = self.launch("--json", *arguments, **environment)
        command.ready = json.loads(await command.read_line() or "{}")
        assert command.ready, command.stderr()
        return command


@pytest.fixture
def commands() -> Generator[Commands]:
    with ExitStack() as stack:
        yield Commands(stack)


def _check_refused(status: object, stdout: str, stderr: str, parts: list[str]) -> None:
    """Check that it was refused in one line that holds `parts`, with status 2."""
    assert status == 2, stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    (line,) = stderr.splitlines()
    assert line.startswith("trionet-node: ")
    for part in parts:
        assert part in line


async def test_it_prints_one_line_with_its_address_once_it_accepts_calls(commands: Commands) -> None:
    command = commands.launch()
    line = await command.read_line()
    found = re.fullmatch(r"trionet-node ([0-9a-f]{10}) is ready on 127\.0\.0\.1:(\d+) \(pid (\d+)\)\n", line)
    assert found is not None, line
    address = NodeAddress("127.0.0.1", int(found[2]))
    assert found[1] == address.sid
    assert int(found[3]) == command.process.pid
    assert await is_listening(address.port)
    command.process.terminate()
    assert await command.wait() == 0
    assert not await is_listening(address.port)


async def test_it_prints_that_line_as_json(commands: Commands) -> None:
    command = await commands.start()
    assert command.ready == {
        "ip": "127.0.0.1",
        "port": command.address.port,
        "nid": command.address.nid,
        "sid": command.address.sid,
        "pid": command.process.pid,
    }
    async with open_node() as node:
        remote = Remote(node=command.address, service="status", method="get")
        assert await node.local.comm.send(["nid"], remote) == command.ready["nid"]


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
async def test_a_signal_stops_it_without_delay_though_connections_are_open(
    commands: Commands, how: signal.Signals
) -> None:
    command = await commands.start("--config", '{"stop_grace_s": 1000}')
    for transport in ("link", "http"):
        async with open_node(NodeConfig(transport=transport)) as node:
            remote = Remote(node=command.address, service="status", method="get")
            assert await node.local.comm.send(["nid"], remote) == command.ready["nid"]
            if transport == "http":
                command.process.send_signal(how)
                assert await command.wait() == 0
    assert "Traceback" not in command.stderr()


async def test_a_handler_that_never_ends_holds_a_signal_up_for_the_grace_alone(commands: Commands) -> None:
    config = {"stop_grace_s": 0.2, "services": {"probe": "tests.samples:Probe"}}
    command = await commands.start("--config", json.dumps(config))
    async with open_node() as node, trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(Exception, match=str(command.address.port)):
                await node.local.comm.send([3600], Remote(node=command.address, service="probe", method="sleep"))

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked(0.01)
        # Answered on the same connection: so the handler of the call before has begun.
        await node.local.comm.send([], Remote(node=command.address, service="probe", method="pid"))
        command.process.terminate()
        assert await command.wait() == 0
    assert "Traceback" not in command.stderr()


async def test_a_second_signal_does_not_wait_for_the_grace(commands: Commands) -> None:
    config = {"stop_grace_s": 1000, "services": {"probe": "tests.samples:Probe"}}
    command = await commands.start("--config", json.dumps(config))
    async with open_node() as node, trio.open_nursery() as nursery:

        async def call() -> None:
            with pytest.raises(Exception, match=str(command.address.port)):
                await node.local.comm.send([3600], Remote(node=command.address, service="probe", method="sleep"))

        nursery.start_soon(call)
        await trio.testing.wait_all_tasks_blocked(0.01)
        # Answered on the same connection: so the handler of the call before has begun.
        await node.local.comm.send([], Remote(node=command.address, service="probe", method="pid"))
        command.process.send_signal(signal.SIGINT)
        with trio.fail_after(DEADLINE_S):
            while await is_listening(command.address.port):  # noqa: ASYNC110  another process
                await trio.sleep(0.01)
        assert command.process.poll() is None
        command.process.send_signal(signal.SIGINT)
        assert await command.wait() == 0


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM], ids=lambda how: how.name)
async def test_a_signal_while_it_starts_ends_it_with_status_130(
    commands: Commands, how: signal.Signals, tmp_path: Path
) -> None:
    pid_file = tmp_path / "pid"
    command = commands.launch("--on-start", "tests.samples:wait_forever", **{samples.PID_FILE_VARIABLE: str(pid_file)})
    await wait_until(pid_file.exists)
    command.process.send_signal(how)
    assert await command.wait() == 130
    assert "Traceback" not in command.stderr()


async def test_a_node_that_is_stopped_by_a_call_ends_with_status_0(commands: Commands) -> None:
    command = await commands.start()
    async with open_node() as node:
        await node.local.comm.send([], Remote(node=command.address, service="status", method="stop"))
    assert await command.wait() == 0


async def test_on_start_runs_before_the_line_and_may_stop_the_node(commands: Commands) -> None:
    command = await commands.start("--on-start", "tests.samples:put_counter")
    async with open_node() as node:
        remote = Remote(node=command.address, service="counter", method="add")
        assert await node.local.comm.send([2], remote) == 2
    stopped = commands.launch("--on-start", "tests.samples:stop_node")
    await stopped.read_line()  # it may be said to be ready, or not
    assert await stopped.wait() == 0
    assert "Traceback" not in stopped.stderr()


async def test_flags_go_before_the_environment_and_that_before_the_file(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "node.toml"
    path.write_text('advertise_ip = "file.example"\n[services]\nprobe = "tests.samples:Probe"\n', encoding="utf-8")
    config = ["--config", str(path)]
    assert (await commands.start(*config)).ready["ip"] == "file.example"
    environment = {"TRIONET_ADVERTISE_IP": "environment.example"}
    assert (await commands.start(*config, **environment)).ready["ip"] == "environment.example"
    flagged = await commands.start(*config, "--advertise-ip", "localhost", **environment)
    assert flagged.ready["ip"] == "localhost"
    async with open_node() as node:  # what only the file says holds all the same
        remote = Remote(node=flagged.address, service="probe", method="pid")
        assert await node.local.comm.send([], remote) == flagged.process.pid


async def test_the_file_may_be_json_or_be_named_by_the_environment(commands: Commands, tmp_path: Path) -> None:
    path = tmp_path / "node.json"
    path.write_text('{"advertise_ip": "json.example"}', encoding="utf-8")
    assert (await commands.start("--config", str(path))).ready["ip"] == "json.example"
    assert (await commands.start(TRIONET_CONFIG=str(path))).ready["ip"] == "json.example"
    assert (await commands.start("--config", ' {"advertise_ip": "inline.example"}')).ready["ip"] == "inline.example"


async def test_every_setting_can_stand_in_the_environment(commands: Commands) -> None:
    async with open_node() as node:
        port = node.address.port
    command = await commands.start(
        TRIONET_PORT=str(port),
        TRIONET_IP="0.0.0.0",
        TRIONET_ADVERTISE_IP="127.0.0.1",
        TRIONET_INSECURE="yes",
        TRIONET_LOG_LEVEL="error",
        TRIONET_SERVICES='{"probe": "tests.samples:Probe"}',
        TRIONET_STOP_GRACE_S="0",
    )
    assert command.address == NodeAddress("127.0.0.1", port)
    command.process.terminate()
    assert await command.wait() == 0
    assert command.stderr() == ""


Refusal = tuple[list[str], dict[str, str], list[str]]

REFUSED: dict[str, Refusal] = {
    "a port that is no number": (["--port", "http"], {}, ["--port", "'http'"]),
    "an unknown key": (["--config", "unknown.toml"], {}, ["unknown.toml", "prot"]),
    "broken toml": (["--config", "broken.toml"], {}, ["broken.toml"]),
    "a missing file": (["--config", "nowhere.toml"], {}, ["nowhere.toml", "No such file"]),
    "a variable that is no number": ([], {"TRIONET_PORT": "http"}, ["TRIONET_PORT", "'http'"]),
    "an on_start in no module": (["--on-start", "tests.nowhere:begin"], {}, ["tests.nowhere"]),
    "an on_start that is not there": (["--on-start", "tests.samples:nothing"], {}, ["tests.samples", "nothing"]),
    "listening beyond loopback": (["--ip", "0.0.0.0"], {}, ["0.0.0.0", "--insecure"]),
    "another machine's address": (["--ip", "192.0.2.1", "--insecure"], {}, ["192.0.2.1"]),
    "an unknown log level": (["--log-level", "loud"], {}, ["log_level", "'loud'"]),
    "a service in no module": ([], {"TRIONET_SERVICES": '{"a": "tests.nowhere:A"}'}, ["tests.nowhere"]),
    "a template with a built-in name": ([], {"TRIONET_TEMPLATES": '{"comm": "tests.samples:Census"}'}, ["'comm'"]),
}

REFUSED_WHILE_READING: dict[str, Refusal] = {
    "an unknown flag": (["--prot", "80"], {}, ["--prot"]),
    "a flag without its value": (["--port"], {}, ["--port"]),
    "a flag that is cut short": (["--conf", "node.toml"], {}, ["--conf"]),
    "an argument too many": (["node.toml"], {}, ["node.toml"]),
    "a port out of range": (["--port", "65536"], {}, ["port", "65536"]),
    "an empty ip": (["--ip", ""], {}, ["ip"]),
    "an on_start that is no import path": (["--on-start", "begin"], {}, ["on_start", "'begin'"]),
    "nothing to advertise": (["--ip", "0.0.0.0", "--insecure"], {}, ["0.0.0.0", "--advertise-ip"]),
    "broken inline json": (["--config", '{"port": }'], {}, ["--config"]),
    "an unknown key inline": (["--config", '{"prot": 80}'], {}, ["--config", "prot"]),
    "a wrong type inline": (["--config", '{"port": "80"}'], {}, ["--config", "port"]),
    "a wrong type in a file": (["--config", "type.toml"], {}, ["type.toml", "port"]),
    "broken json": (["--config", "broken.json"], {}, ["broken.json"]),
    "json that is no object": (["--config", "list.json"], {}, ["list.json"]),
    "a bad file that a variable names": ([], {"TRIONET_CONFIG": "type.toml"}, ["type.toml", "port"]),
    "a bad object in a variable": ([], {"TRIONET_CONFIG": '{"prot": 1}'}, ["TRIONET_CONFIG: there is no", "'port'"]),
    "a missing file that a variable names": ([], {"TRIONET_CONFIG": "nowhere.toml"}, ["nowhere.toml"]),
    "a variable out of range": ([], {"TRIONET_PORT": "65536"}, ["environment", "port", "65536"]),
    "a variable that is no table": ([], {"TRIONET_SERVICES": "counter"}, ["TRIONET_SERVICES"]),
    "a variable that is no choice": ([], {"TRIONET_TRANSPORT": "pigeon"}, ["environment", "transport"]),
    "a bad file though flags would do": (["--config", "type.toml", "--port", "0"], {}, ["type.toml", "port"]),
}

FILES = {
    "unknown.toml": "prot = 80",
    "broken.toml": "port = ",
    "type.toml": 'port = "80"',
    "broken.json": '{"port": ',
    "list.json": "[80]",
}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A directory with bad files."""
    for name, content in FILES.items():
        (tmp_path / name).write_text(content, encoding="utf-8")
    return tmp_path


@pytest.mark.parametrize(("arguments", "environment", "parts"), REFUSED.values(), ids=list(REFUSED))
def test_bad_configuration_is_one_line_and_status_2(
    directory: Path, arguments: list[str], environment: dict[str, str], parts: list[str]
) -> None:
    given = [str(directory / argument) if argument in FILES else argument for argument in arguments]
    result = _run(*given, **environment)
    _check_refused(result.returncode, result.stdout, result.stderr, parts)


@pytest.mark.parametrize(
    ("arguments", "environment", "parts"), REFUSED_WHILE_READING.values(), ids=list(REFUSED_WHILE_READING)
)
def test_configuration_that_is_refused_while_it_is_read_is_one_line_and_status_2(
    directory: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    environment: dict[str, str],
    parts: list[str],
) -> None:
    monkeypatch.chdir(directory)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as caught:
        main(arguments)  # in this process, which is much faster; it comes no further than the configuration
    _check_refused(caught.value.code, *capsys.readouterr(), parts)


async def test_a_port_in_use_is_one_line_that_names_the_address_and_status_1() -> None:
    async with open_node() as node:
        result = await trio.to_thread.run_sync(_run, "--port", str(node.address.port))
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr == f"trionet-node: {node.address} is already in use\n"


def test_an_on_start_that_raises_is_told_with_its_traceback_and_status_1() -> None:
    result = _run("--on-start", "tests.samples:fail_to_start")
    assert result.returncode == 1
    assert result.stdout == ""
    assert "LookupError: no plan for 127.0.0.1" in result.stderr
    assert "Traceback" in result.stderr


def test_help_names_every_setting_and_the_exit_statuses() -> None:
    result = _run("--help")
    assert (result.returncode, result.stderr) == (0, "")
    for field in NodeConfig.__struct_fields__:
        assert re.search(rf"\b{field}\b", result.stdout), field
    for flag in ("--ip", "--port", "--on-start", "--config", "--log-level", "--json", "--insecure", "--advertise-ip"):
        assert flag in result.stdout
    assert "exit status" in result.stdout
    assert "--supervised" not in result.stdout


async def test_the_log_goes_to_standard_error_from_the_level_that_was_asked_for(commands: Commands) -> None:
    for level, is_said in (("warning", False), ("info", True)):
        command = await commands.start("--log-level", level, "--on-start", "tests.samples:log_something")
        command.process.terminate()
        assert await command.wait() == 0
        assert ("INFO tests.samples: open for business\n" in command.stderr()) is is_said, level


async def test_trionet_node_is_a_command_of_trionet_too(commands: Commands) -> None:
    command = commands.launch_module("trionet", "node", "--json", "--port", "0")
    command.ready = json.loads(await command.read_line())
    assert command.ready["pid"] == command.process.pid != os.getpid()
    assert await is_listening(command.address.port)
    command.process.send_signal(signal.SIGINT)
    assert await command.wait() == 0
