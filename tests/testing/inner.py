"""Runs of pytest inside of tests, on files that tests write."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["WITHOUT_MODE", "WITH_MODE", "replay", "section_of", "traces_of", "write"]

_OPTIONS = "filterwarnings = error\naddopts = --strict-markers -p no:schemathesis\n"  # it takes half a second to import
WITH_MODE = f"[pytest]\ntrio_mode = true\n{_OPTIONS}"
WITHOUT_MODE = f"[pytest]\n{_OPTIONS}"

_HEAD = """\
import pytest
import trio
import trionet
"""


def write(pytester: pytest.Pytester, tests: str, ini: str = WITH_MODE) -> None:
    """Write a file of tests, ``test_inner.py``, and the configuration."""
    pytester.makeini(ini)
    pytester.makepyfile(test_inner=_HEAD + tests)


def section_of(result: pytest.RunResult) -> dict[str, list[str]]:
    """Return the plugin's section of the first failure: the values by their names."""
    text = re.search(r"^-+ trionet -+\n((?:(?:seed|replay|trace): .*\n)+)", result.stdout.str(), re.MULTILINE)
    assert text is not None, result.stdout.str()
    found: dict[str, list[str]] = {}
    for line in text[1].splitlines():
        name, _, value = line.partition(": ")
        found.setdefault(name, []).append(value.strip())
    return found


def replay(pytester: pytest.Pytester, result: pytest.RunResult) -> pytest.RunResult:
    """Run the command of the first failure that replays it, in a process of its own."""
    (command,) = section_of(result)["replay"]
    program, *args = shlex.split(command)
    assert program == "pytest"
    return pytester.runpytest_subprocess(*args)


def traces_of(result: pytest.RunResult) -> list[Path]:
    """Return where the first failure's traces are."""
    return [Path(line) for line in section_of(result).get("trace", [])]
