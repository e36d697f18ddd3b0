"""What mypy and pyright see in calls by method: the same types, and the same mistakes."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULE = ROOT / "tests" / "typed_calls.py"

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]


def _run(*command: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", *command], cwd=ROOT, capture_output=True, text=True, timeout=540, check=False
    )
    assert result.returncode in (0, 1), result.stderr
    return result.stdout


def test_mypy_knows_the_types_of_calls_and_refuses_the_wrong_ones() -> None:
    # In strict mode it reports a comment "type: ignore" that nothing needs.
    output = _run("mypy", "--strict", "--no-error-summary", str(MODULE))
    assert output == ""


def test_pyright_knows_the_types_of_calls_and_refuses_the_wrong_ones(tmp_path: Path) -> None:
    copied = tmp_path / MODULE.name  # the paths of a configuration are relative to it
    shutil.copy(MODULE, copied)
    config = {"include": [copied.name], "enableTypeIgnoreComments": False}
    (tmp_path / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    output = json.loads(_run("pyright", "--outputjson", "--pythonpath", sys.executable, "--project", str(tmp_path)))
    refused = {
        found["range"]["start"]["line"] + 1 for found in output["generalDiagnostics"] if found["severity"] == "error"
    }
    lines = MODULE.read_text(encoding="utf-8").splitlines()
    expected = {number for number, line in enumerate(lines, 1) if "# type: ignore" in line and "empty-body" not in line}
    assert output["summary"]["filesAnalyzed"] == 1
    assert refused == expected, output["generalDiagnostics"]
