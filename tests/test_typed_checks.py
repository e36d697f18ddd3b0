"""What mypy and pyright see in calls by method."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests import typed_calls

MODULE = Path(typed_calls.__file__)
ROOT = MODULE.parents[1]

CHECKERS = {
    "mypy": ["-m", "mypy", "--strict", "--no-color-output", "--no-error-summary"],
    "pyright": ["-m", "pyright"],
}
_ERROR = re.compile(r"^\s*\S*typed_calls\.py:(\d+)(?::\d+)?\s*[:-] .*error", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize("checker", CHECKERS)
def test_both_checkers_know_the_types_of_calls_and_refuse_the_same_lines(checker: str) -> None:
    command = [sys.executable, *CHECKERS[checker], str(MODULE)]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=540, check=False)
    assert result.returncode in (0, 1), result.stderr
    lines = MODULE.read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# refused")}
    assert {int(number) for number in _ERROR.findall(result.stdout)} == expected, result.stdout
