"""The layers and modules that docs/contributing.md names are those of the package."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")


def test_the_documented_layers_are_those_that_are_checked() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = settings["tool"]["importlinter"]["contracts"]
    checked = next(contract["layers"] for contract in contracts if contract["id"] == "layers")
    block = re.search(r"^## Layers\n.*?^```text\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    assert block is not None
    documented = [re.findall(r"(\w+)(?:\.py|/)(?:\s|$)", line) for line in block[1].splitlines()]
    assert documented == [layer.split(" | ") for layer in checked]


def test_the_documented_modules_exist() -> None:
    rows = re.findall(r"^\| (`[\w/]+\.py`(?:, `[\w/.]+`)*) \|", PAGE, re.MULTILINE)
    modules = [name for row in rows for name in qualified(re.findall(r"`([^`]+)`", row))]
    assert [name for name in modules if not (ROOT / "trionet" / name).is_file()] == []
    assert "protocols/link/core.py" in modules
    assert "transports/memory/lane.py" in modules


def qualified(names: list[str]) -> list[str]:
    """Return the names of a row; those without a folder are in that of the first one."""
    folder = names[0].rpartition("/")[0]
    return [name if "/" in name else f"{folder}/{name}" for name in names]
