"""What README.md, docs/ and examples/ show is what happens: their programs, commands and outputs.

The conventions are in docs/contributing.md, "Documentation". Programs run in forks of one process that has imported
trionet already, because importing takes most of the time of a small program.
"""

from __future__ import annotations

import ast
import datetime
import gc
import importlib
import inspect
import json
import math
import os
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import traceback
import uuid
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, NoReturn

import httpx
import msgspec
import pytest

import trionet
from trionet.codec import JSON
from trionet.services.comm import Comm
from trionet.services.gossip import Gossip
from trionet.services.groups import Groups
from trionet.services.membership import Membership
from trionet.services.routes import Routes
from trionet.services.status import Status
from trionet.templates.comm import GroupComm
from trionet.templates.gossip import GroupGossip
from trionet.templates.groups import GroupGroups
from trionet.templates.routes import GroupRoutes
from trionet.templates.settings import GroupSettings
from trionet.templates.status import GroupStatus

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
PATIENCE_S = 240  # some examples take ten seconds of a processor, and the machine may be busy
ANYTHING = "..."
SHOWN_PORT = r"\b80\d\d\b"
AN_EXAMPLE = """
import runpy, sys
from pathlib import Path
sys.argv[:] = [{path!r}]
sys.path[0] = str(Path({path!r}).parent)
runpy.run_path({path!r}, run_name="__main__")
"""
SHARED = [
    *("trionet.transports.network", "trionet.simulation", "trionet.cli.main", "trionet.cli.node"),
    *("httpx", "quart_trio"),
]
"""What most of the programs need, and forks therefore have."""

IN_A_FORK = """
import os, sys, warnings
from trionet.cli import main, node
warnings.simplefilter("ignore", ResourceWarning)  # a command leaves its standard streams to the end of its process
if {output!r}:
    os.dup2(os.open({output!r}, os.O_WRONLY), 1)
else:
    os.dup2(1, 2)
os.environ |= {settings}
sys.path[:1] = {path}  # without the folder of the program: as for an installed command
(node if {name!r} == "node" else main.load({name!r})).main({arguments})
"""
SLOWEST = "simulation_pictures.py"
"""An example that takes ten seconds of a processor; what it draws has tests of its own."""

pytestmark = pytest.mark.timeout(2 * PATIENCE_S)


class Block(NamedTuple):
    """A fenced block. `follows` tells whether only blank lines are between it and the block before."""

    line: int
    language: str
    text: str
    follows: bool


class Program(NamedTuple):
    """A Python block with its output, and the files that earlier blocks of its page have saved."""

    where: str
    code: str
    output: str
    files: dict[str, str]


class Command(NamedTuple):
    """A command of a console block, with its output."""

    where: str
    line: str
    output: str


def blocks_of(page: Path) -> list[Block]:
    text, found, end = page.read_text(encoding="utf-8"), [], 0
    for match in re.finditer(r"^```(\S*)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        line = text.count("\n", 0, match.start()) + 1
        found.append(Block(line, match[1], match[2], follows=not text[end : match.start()].strip()))
        end = match.end()
    return found


def programs_of(page: Path) -> list[Program]:
    programs, files, blocks = [], {}, blocks_of(page)
    for block, after in zip(blocks, [*blocks[1:], None], strict=False):
        if block.language != "python":
            continue
        where = f"{page.relative_to(ROOT)}:{block.line}"
        if name := re.match(r"# (\w+\.py)\n", block.text):
            files[name[1]] = block.text
        has_output = after is not None and after.language == "text" and after.follows
        assert has_output or name, f"{where}: the program has neither an output nor a file name"
        output = after.text if after is not None and has_output else ""
        programs.append(Program(where, block.text, output, dict(files)))
    return programs


def commands_of(page: Path) -> list[Command]:
    commands = []
    for block in blocks_of(page):
        if block.language == "console":
            for command in re.finditer(r"^\$ (.*\n)((?:(?!\$ ).*\n)*)", block.text, re.MULTILINE):
                line = block.line + 1 + block.text.count("\n", 0, command.start())
                commands.append(Command(f"{page.relative_to(ROOT)}:{line}", command[1].strip(), command[2]))
    return commands


def files_of(page: Path) -> dict[str, str]:
    found = {name: text for program in programs_of(page) for name, text in program.files.items()}
    for block in blocks_of(page):
        if block.language == "toml" and (name := re.match(r"# (\w+\.toml)\n", block.text)):
            found[name[1]] = block.text
    return found


def matches(expected: str, actual: str) -> bool:
    """Whether `actual` is what `expected` shows, in which ``...`` is anything in a line, or, alone, any lines."""
    pattern = ""
    for line in expected.strip().splitlines():
        if line.strip() == ANYTHING:
            pattern += r"(?:.*\n)*"
        else:
            pattern += ".*".join(map(re.escape, line.rstrip().split(ANYTHING))) + r"\n"
    lines = [line.rstrip() + "\n" for line in actual.strip().splitlines()]
    return re.fullmatch(pattern, "".join(lines)) is not None


def check_output(where: str, expected: str, actual: str) -> None:
    assert matches(expected, actual), f"{where} shows\n\n{expected}\nbut it is\n\n{actual}"


def write(files: dict[str, str], folder: Path) -> None:
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")


def environment(**changes: str) -> dict[str, str]:
    env = {name: value for name, value in os.environ.items() if not name.startswith("TRIONET_")}
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # else each process compiles the package anew
    return env | {"PYTHONPATH": str(ROOT)} | changes


# ------------------------------------------------------------------------------------------------------------ programs


class Runner:
    """A process that runs programs, each in a fork of itself."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment(),
            process_group=0,
        )

    def run(self, program: Program, folder: Path) -> tuple[int, str, str]:
        """Run `program` in `folder`; return its exit status and what it wrote to standard output and error."""
        write(program.files, folder)
        status = self._ask("run", program.code, folder)
        return status, (folder / "stdout").read_text(encoding="utf-8"), (folder / "stderr").read_text(encoding="utf-8")

    def start(self, code: str, folder: Path) -> int:
        """Start a program in `folder`; return its process id. It has been killed after `close`."""
        return self._ask("start", code, folder)

    def _ask(self, what: str, code: str, folder: Path) -> int:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        write({"__program__.py": code}, folder)
        self._process.stdin.write(f"{what} {folder}\n")
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.communicate()


def serve_programs() -> None:
    """Be the process of a `Runner`: a line on standard input names a folder, one on standard output is the answer."""
    for name in SHARED:
        importlib.import_module(name)
    gc.freeze()  # a search for cycles in a fork would copy the pages of all of it
    for line in sys.stdin:
        what, _, folder = line.rstrip("\n").partition(" ")
        pid = os.fork()
        if not pid:
            run_program(Path(folder))
        answer = pid if what == "start" else os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        sys.stdout.write(f"{answer}\n")
        sys.stdout.flush()


def run_program(folder: Path) -> NoReturn:
    status = 1
    try:
        signal.alarm(PATIENCE_S)
        for descriptor, name in enumerate([os.devnull, "stdout", "stderr"]):
            os.dup2(os.open(folder / name, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600), descriptor)
        os.chdir(folder)
        sys.path[0] = str(folder)
        runpy.run_path("__program__.py", run_name="__main__")
        status = 0
    except SystemExit as exc:
        status = exc.code if isinstance(exc.code, int) else 1
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)


@pytest.fixture(scope="module")
def runner() -> Generator[Runner]:
    runner = Runner()
    yield runner
    runner.close()


def is_slow(program: Program) -> bool:
    slow = ("status.spawn(", "move_on_after(", "simulation.draw(", "savefig(", "search(")
    return any(word in program.code for word in slow)


@pytest.mark.parametrize(
    "program",
    [
        pytest.param(program, id=program.where, marks=[pytest.mark.slow] if is_slow(program) else [])
        for page in PAGES
        for program in programs_of(page)
    ],
)
def test_a_program_of_the_documentation_prints_what_is_shown(program: Program, runner: Runner, tmp_path: Path) -> None:
    status, output, error = runner.run(program, tmp_path)
    assert status == 0, f"{program.where} ended with status {status}:\n{output}{error}"
    check_output(program.where, program.output, output)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.name, marks=[pytest.mark.soak] if path.name == SLOWEST else []) for path in EXAMPLES],
)
def test_an_example_prints_what_its_docstring_says(path: Path, runner: Runner, tmp_path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    _, marker, expected = docstring.partition("prints::\n")
    assert marker, f"the docstring of {path.name} does not say what it prints"
    status, output, error = runner.run(Program(path.name, AN_EXAMPLE.format(path=str(path)), "", {}), tmp_path)
    assert status == 0, f"{path.name} ended with status {status}:\n{output}{error}"
    check_output(path.name, "\n".join(line.removeprefix("    ") for line in expected.splitlines()), output)


# ------------------------------------------------------------------------------------------------------------ commands


@contextmanager
def reserved_ports(shown: Sequence[int]) -> Generator[dict[int, int]]:
    """Give a free port for each shown one, such that the SIDs of both are in the same order.

    The ports stay bound, but not listened on, so that nobody but a program that is told of them takes them.
    """
    with ExitStack() as stack:
        while True:
            real = []
            for _ in shown:
                bound = stack.enter_context(socket.socket())
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                bound.bind(("127.0.0.1", 0))
                real.append(bound.getsockname()[1])
            if in_sid_order(real) == in_sid_order(shown):
                yield dict(zip(shown, real, strict=True))
                return


def in_sid_order(ports: Sequence[int]) -> list[int]:
    return sorted(range(len(ports)), key=lambda index: trionet.NodeAddress("127.0.0.1", ports[index]).sid)


class Shell:
    """Runs the commands of one page: ``curl`` by httpx, those of trionet and ``pytest`` as processes, ``echo $?``.

    ``$(command)`` stands for the output of a command. ``trionet`` and ``trionet-node`` run in forks that have imported
    them already; but ``trionet simulate`` and ``trionet up`` start themselves again, and so are processes of their own.
    """

    def __init__(self, folder: Path, ports: dict[int, int], stack: ExitStack, runner: Runner) -> None:
        self._folder = folder
        self._runner = runner
        self._ports = ports
        self._stack = stack
        self._client = stack.enter_context(httpx.Client(trust_env=False, timeout=PATIENCE_S))
        self._status = 0

    def run(self, line: str) -> str:
        """Run a command line as it is shown; return what it prints, as it would be shown."""
        line = re.sub(r"\$\((.*?)\)", lambda inner: self.run(inner[1]).strip(), line)
        words = shlex.split(re.sub(SHOWN_PORT, lambda shown: str(self._ports[int(shown[0])]), line))
        settings = {}
        while assignment := re.fullmatch(r"([A-Z_]+)=(.*)", words[0]):
            settings[assignment[1]] = assignment[2]
            del words[0]
        match words:
            case ["curl", *arguments]:
                return self._as_shown(self._curl(arguments))
            case ["trionet-node", *arguments, "&"]:
                return self._as_shown(self._start_in_fork(arguments, settings))
            case ["trionet-node", *arguments]:
                return self._as_shown(self._run_in_fork("node", arguments, settings))
            case ["pytest", *arguments]:
                own = ["-p", "no:cacheprovider", "-p", "no:schemathesis", "--basetemp", str(self._folder / "temporary")]
                return self._wait_for([sys.executable, "-m", "pytest", *own, *arguments], settings)
            case ["trionet", "up", *arguments, "&"]:
                command = [sys.executable, "-m", "trionet", "up", *arguments]
                return self._as_shown(self._start(command, settings))
            case ["trionet", name, *arguments] if name != "simulate":
                return self._as_shown(self._run_in_fork(name, arguments, settings))
            case ["trionet", *arguments]:
                return self._as_shown(self._wait_for([sys.executable, "-m", "trionet", *arguments], settings))
            case ["echo", "$?"]:
                return f"{self._status}\n"
        raise AssertionError(f"no way to run {line!r}")

    def _as_shown(self, output: str) -> str:
        for shown, real in self._ports.items():
            here, there = (trionet.NodeAddress("127.0.0.1", port) for port in (real, shown))
            output = output.replace(here.nid, there.nid).replace(here.sid, there.sid)
            output = re.sub(rf"\b{real}\b", str(shown), output)
        return output

    def _run_in_fork(self, name: str, arguments: list[str], settings: dict[str, str]) -> str:
        code = self._code(name, arguments, settings, "")
        self._status, output, _ = self._runner.run(Program(name, code, "", {}), self._folder)
        return output

    def _start_in_fork(self, arguments: list[str], settings: dict[str, str]) -> str:
        """Start a node; return the first line that it prints."""
        printed = self._folder / "printed"
        os.mkfifo(printed)
        pid = self._runner.start(self._code("node", arguments, settings, str(printed)), self._folder)
        self._stack.callback(os.kill, pid, signal.SIGKILL)
        lines = self._stack.enter_context(printed.open(encoding="utf-8"))  # once it has read its code
        printed.unlink()
        return lines.readline()

    def _code(self, name: str, arguments: list[str], settings: dict[str, str], output: str) -> str:
        env = self._environment(settings)
        path = [str(self._folder / place) for place in env["PYTHONPATH"].split(os.pathsep)]
        changed = {key: value for key, value in env.items() if key in (*settings, "PYTHONPATH")}
        return IN_A_FORK.format(name=name, arguments=arguments, settings=changed, path=path, output=output)

    def _environment(self, settings: dict[str, str]) -> dict[str, str]:
        path = [str(ROOT), *filter(None, [settings.get("PYTHONPATH")])]
        return environment(**settings | {"PYTHONPATH": os.pathsep.join(path)})

    def _start(self, command: list[str], settings: dict[str, str]) -> str:
        """Start ``trionet up``; return what it prints up to the line that says that the cluster is there."""
        process = self._stack.enter_context(
            subprocess.Popen(
                command,
                cwd=self._folder,
                env=self._environment(settings),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
        )
        self._stack.callback(process.kill)
        assert process.stdout is not None
        printed = process.stdout.readline()
        while "; Ctrl-C stops" not in printed and (line := process.stdout.readline()):
            printed += line
        return printed

    def _wait_for(self, command: list[str], settings: dict[str, str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment(settings),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=PATIENCE_S,
            check=False,
        )
        self._status = done.returncode
        return done.stdout

    def _curl(self, arguments: list[str]) -> str:
        given: dict[str, str] = {}
        headers, words = {"Accept": "*/*", "User-Agent": "curl"}, iter(arguments)
        for word in words:
            if word == "-H":
                name, _, value = next(words).partition(":")
                headers[name] = value.strip()
            elif word in ("-X", "-d", "-w"):
                given[word] = next(words)
            else:
                assert word == "-i" or not word.startswith("-"), f"no way to translate curl's {word}"
                given["-i" if word == "-i" else "url"] = word
        if "-d" in given:
            headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
        method = given.get("-X", "POST" if "-d" in given else "GET")
        response = self._client.request(method, given["url"], headers=headers, content=given.get("-d", "").encode())
        head = [f"{response.http_version} {response.status_code}"]
        head += [f"{name.decode()}: {value.decode()}" for name, value in response.headers.raw]
        after = given.get("-w", "").replace(r"\n", "\n").replace("%{http_code}", str(response.status_code))
        return ("\n".join([*head, "", ""]) if "-i" in given else "") + response.text + after


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES if commands_of(page)]
)
def test_the_commands_of_a_page_print_what_is_shown(page: Path, runner: Runner, tmp_path: Path) -> None:
    commands, files = commands_of(page), files_of(page)
    texts = [*(command.line for command in commands), *(files[name] for name in files if name.endswith(".toml"))]
    shown = sorted({int(port) for text in texts for port in re.findall(SHOWN_PORT, text)})
    with reserved_ports(shown) as ports, ExitStack() as stack:
        for name in files:
            if name.endswith(".toml"):
                files[name] = re.sub(SHOWN_PORT, lambda port: str(ports[int(port[0])]), files[name])
        write(files, tmp_path)
        shell = Shell(tmp_path, ports, stack, runner)
        for command in commands:
            check_output(command.where, command.output, shell.run(command.line))


# -------------------------------------------------------------------------------------------------------------- tables


def rows_of(page: str, heading: str) -> list[list[str]]:
    """Return the rows of the table whose first column has that heading, without the backquotes around a cell."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    table = re.search(rf"^\| {heading} \|.*\n\|[-| ]+\n((?:\|.*\n)+)", text, re.MULTILINE)
    assert table is not None, f"{page} has no table that begins with {heading}"
    return [[cell.strip().strip("`") for cell in row.strip("| ").split(" | ")] for row in table[1].splitlines()]


def test_the_table_of_settings_has_every_setting_with_its_default() -> None:
    defaults = {
        field.name: repr(field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory())
        for field in msgspec.structs.fields(trionet.NodeConfig)
    }
    documented = {row[0]: row[1].replace('"', "'") for row in rows_of("node.md", "setting")}
    assert documented == defaults


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in rows_of("values.md", "Python")])
def test_the_json_form_of_a_value_is_the_documented_one(row: list[str]) -> None:
    names = {"math": math, "datetime": datetime.datetime, "UTC": datetime.UTC, "UUID": uuid.UUID} | vars(trionet)
    value = eval(row[0], names)
    assert json.loads(JSON.encode(value)) == json.loads(row[1])
    decoded = JSON.decode(row[1].encode())
    assert decoded == value or math.isnan(value)


def signatures_of(page: str) -> list[tuple[str, str, str]]:
    """Return service, method and parameters of each call that a table of the page shows."""
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    call = r"^\| (?:call \| )?`(?:await|async with) (?:node\.local|group)\.(\w+)\.(\w+)(\(.*?\))[ :`]"
    return re.findall(call, text, re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "services"),
    [
        (
            "local-services.md",
            {
                "status": Status,
                "groups": Groups,
                "routes": Routes,
                "comm": Comm,
                "membership": Membership,
                "gossip": Gossip,
            },
        ),
        ("group-services.md", {"status": GroupStatus, "groups": GroupGroups, "routes": GroupRoutes, "comm": GroupComm}),
        ("gossip.md", {"gossip": GroupGossip}),
        ("settings.md", {"settings": GroupSettings}),
    ],
)
def test_the_signatures_of_methods_are_the_documented_ones(page: str, services: dict[str, type]) -> None:
    documented = {(service, method): parameters for service, method, parameters in signatures_of(page)}
    real = {}
    for service, method in documented:
        _, *parameters = inspect.signature(getattr(services[service], method)).parameters.values()
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
        real[service, method] = str(inspect.Signature(bare)).replace("'", '"')
    assert documented == real
    assert {service for service, _ in documented} == set(services)


def test_every_public_name_is_in_the_reference() -> None:
    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    listed: dict[str, list[str]] = {}
    for module, block in re.findall(r"^\.\. currentmodule:: (\S+)\n(.*?)^```", reference, re.MULTILINE | re.DOTALL):
        listed.setdefault(module, []).extend(
            re.findall(r"^\.\. (?:auto\w+|data):: (\w+)(?![\w.])", block, re.MULTILINE)
        )
    assert set(listed) == {"trionet", "trionet.simulation", "trionet.testing"}
    for module, names in listed.items():
        assert sorted(names) == sorted(importlib.import_module(module).__all__)


def test_every_error_is_explained() -> None:
    explained = {name for row in rows_of("errors.md", "error") for name in re.findall(r"\w+", row[0])}
    families = {"TrionetError", "DefiniteError", "IndefiniteError", "NotFound"}
    errors = {name for name in trionet.__all__ if issubclass_of_error(name)}
    assert explained == errors - families


def issubclass_of_error(name: str) -> bool:
    thing = getattr(trionet, name)
    return isinstance(thing, type) and issubclass(thing, trionet.TrionetError)


@pytest.mark.parametrize("page", [pytest.param(page, id=str(page.relative_to(ROOT))) for page in PAGES])
def test_links_to_files_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text)
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_every_test_that_a_page_names_exists() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("test_*.py"))
    defined = set(re.findall(r"^(?:async )?def (test_\w+)\(", tests, re.MULTILINE))
    named = {(page.name, name) for page in PAGES for name in re.findall(r"`(test_\w+)`", page.read_text("utf-8"))}
    assert {(page, name) for page, name in named if name not in defined} == set()
    assert len([page for page, _ in named if page == "costs.md"]) > 20


if __name__ == "__main__":
    serve_programs()
