"""The environments of other libraries, one for each, under ``build/benchmarks``.

Invariants: nothing is installed anywhere else; what can't be installed is reported in one sentence and left out.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import trio

from .workers import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

__all__ = ["NODE_ENVIRONMENT", "NotInstalled", "install_npm", "install_python", "python_for"]

BUILD = ROOT / "build" / "benchmarks"
NODE = BUILD / "node"
NODE_ENVIRONMENT = {"NODE_PATH": str(NODE / "node_modules"), "NODE_ENV": "production"}
"""What lets our scripts find the package, which isn't installed above them."""

_LIMIT_S = 300.0
_REASON = re.compile(r"(npm )?err(or|!)", re.IGNORECASE)
"""How pip and npm begin the line that says why; before it are warnings of each attempt."""

_FEW_RETRIES = ("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-retry-maxtimeout=5000")
"""Else npm tries for more than five minutes where there is no network: longer than some benchmarks may take."""

_REQUIREMENTS = ROOT / "benchmarks" / "requirements.txt"


class NotInstalled(Exception):
    """A library is missing, and can't be installed."""


async def _run(command: Sequence[str | Path], env: Mapping[str, str] | None = None) -> str:
    """Run a program, and return its output.

    Raises:
        NotInstalled: it failed, or took too long.
    """
    words = [str(word) for word in command]
    try:
        with trio.fail_after(_LIMIT_S):
            done = await trio.run_process(
                words,
                stdin=subprocess.DEVNULL,
                capture_stdout=True,
                capture_stderr=True,
                check=False,
                env=os.environ | dict(env or {}),
            )
    except OSError as exc:
        raise NotInstalled(f"{words[0]}: {exc.strerror}") from exc
    except trio.TooSlowError as exc:
        raise NotInstalled(f"`{' '.join(words[:4])} …` took more than {_LIMIT_S:g} s") from exc
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip().splitlines() or ["no reason given"]
        reason = next((line for line in said if _REASON.match(line)), said[-1])
        raise NotInstalled(f"{reason.strip():.160}")
    return done.stdout.decode(errors="replace")


def python_for(package: str) -> Path:
    """Return the Python of the environment that `package` is installed in."""
    return BUILD / package / "bin" / "python"


async def install_python(package: str, *, may_install: bool) -> str:
    """Install a Python package for the Python of `python_for`, if necessary; return its version.

    Raises:
        NotInstalled: it isn't.
    """
    python = python_for(package)
    if (version := await _version_of(package)) is not None:
        return version
    if not may_install:
        raise NotInstalled("it is not installed, and --no-install was given")
    own, *needed = _requirements(package)
    print(f"installing {own} in build/benchmarks/{package}", flush=True)
    await _run([sys.executable, "-m", "venv", "--clear", python.parent.parent])
    pip: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if needed:
        await _run([*pip, *needed])
    await _run([*pip, *(["--no-deps"] if needed else []), own])
    if (version := await _version_of(package)) is None:
        raise NotInstalled("it can't be imported once it is installed")
    return version


def _requirements(package: str) -> list[str]:
    """Return the lines of the package's block in ``requirements.txt``."""
    blocks = _REQUIREMENTS.read_text().split("\n\n")
    for block in blocks:
        lines = [line for line in block.splitlines() if line and not line.startswith("#")]
        if lines and lines[0].startswith(package):
            return lines
    raise NotInstalled("requirements.txt doesn't name it")


async def _version_of(package: str) -> str | None:
    """Return the version of a Python package; None if it can't be imported."""
    if not python_for(package).exists():
        return None
    module = {"grpcio": "grpc.aio", "pyro5": "Pyro5.api"}.get(package, package)
    program = f"import {module}, importlib.metadata as m; print(m.version({package!r}))"
    try:
        return (await _run([python_for(package), "-W", "ignore", "-c", program])).strip()
    except NotInstalled:
        return None


async def install_npm(package: str, *, may_install: bool) -> str:
    """Install the npm package `package`, if necessary; return its version.

    Raises:
        NotInstalled: it isn't.
    """
    for program in ("node", "npm"):
        if shutil.which(program) is None:
            raise NotInstalled(f"there is no {program} on this machine")
        await _run([program, "--version"])  # it may be a broken shim
    description = NODE / "node_modules" / package / "package.json"
    if not description.exists():
        if not may_install:
            raise NotInstalled("it is not installed, and --no-install was given")
        print(f"installing {package} in build/benchmarks/node", flush=True)
        NODE.mkdir(parents=True, exist_ok=True)
        await _run(
            ["npm", "install", "--prefix", NODE, "--no-audit", "--no-fund", "--loglevel=error", *_FEW_RETRIES, package]
        )
    version: str = json.loads(description.read_text())["version"]
    return version
