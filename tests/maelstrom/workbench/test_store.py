"""The files of a test: a store that can't be written is an error, and no verdict."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from trionet.maelstrom.workbench import Options, Store, StoreFailed, judge, run

if TYPE_CHECKING:
    from pathlib import Path

SIMULATED = ("-w", "echo", "--bin", "echo", "--simulate", "--node-count", "1", "--time-limit", "20", "--rate", "200")


def command(cwd: Path, *arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    words = shlex.join([sys.executable, "-m", "trionet", "maelstrom", "test", *SIMULATED, *arguments])
    return subprocess.run(
        ["/bin/sh", "-c", f"{before} exec {words}"], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.mark.parametrize("where", ["file", "file/below", "folder/echo-is-a-file", "zero\0byte"])
def test_a_store_that_cannot_be_made_is_named(tmp_path: Path, where: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder" / "echo-is-a-file").mkdir(parents=True)
    (tmp_path / "folder" / "echo-is-a-file" / "echo").touch()
    with pytest.raises(StoreFailed, match=r"^--store: .* can't be written: "):
        Store(tmp_path / where, "echo")


def test_each_file_of_a_store_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    options = Options(workload="echo", bin="echo", nodes=("n0",), concurrency=1, is_simulated=True, time_limit_s=1.0)
    done = run(options)
    writers: dict[str, Any] = {
        "history.jsonl": lambda store: store.save_history(done.history),
        "results.json": lambda store: store.save_results(judge(done)),
        "rate.svg": lambda store: store.save_text("rate.svg", "<svg/>"),
        "node-logs": lambda store: store.node_log("n0"),
    }
    with Store(tmp_path, "echo") as store:
        for name, write in writers.items():
            (store.path / name).touch() if name == "node-logs" else (store.path / name).mkdir()
            with pytest.raises(StoreFailed, match=f"{name} can't be written"):
                write(store)


@pytest.mark.slow
def test_a_store_that_cannot_be_written_is_status_3(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = command(tmp_path, "--store", "file")
    assert done.returncode == 3
    assert done.stdout == ""
    assert done.stderr.startswith("trionet maelstrom test: --store: file/echo/")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.slow
def test_a_disk_that_is_full_in_the_middle_of_a_test_is_status_3(tmp_path: Path) -> None:
    done = command(tmp_path, "--store", "full", before="ulimit -f 8;")
    assert done.returncode == 3
    assert "can't be written: File too large" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_the_status_follows_our_verdict_and_json_has_both(tmp_path: Path) -> None:
    program = tmp_path / "silent.py"
    program.write_text(
        "from trionet.maelstrom import MaelstromNode\n"
        "def build():\n"
        "    node, count = MaelstromNode(), []\n"
        "    @node.on('echo')\n"
        "    def echo(message):\n"
        "        count.append(1)\n"
        "        return None if len(count) == 5 else {'echo': message['echo']}\n"
        "    return node\n"
    )
    done = command(tmp_path, "--no-store", "--json", "--bin", str(program))
    results = json.loads(done.stdout)
    assert done.returncode == 1
    assert (results["valid?"], results["maelstrom-valid?"]) == (False, True)
    assert [(finding["part"], finding["name"]) for finding in results["only-ours"]] == [("workload", "no-echo")]
