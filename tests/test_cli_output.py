"""What commands print, and the words that they understand."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests.commands import run
from tests.node_processes import ROOT, clean_environment
from trionet import ConfigError, NodeAddress, NodeUnreachable, RemoteError, Replies
from trionet.cli.frame import Command
from trionet.cli.output import Output, Table, duration_of, error_text, json_of, text_of
from trionet.cli.registry import MODULES
from trionet.cli.targets import target_of
from trionet.codec import JSON
from trionet.errors import DecodeError
from trionet.raising import types_as_dicts
from trionet.streams import is_read, prepare_streams

if TYPE_CHECKING:
    from pathlib import Path

LONG = "the quick brown fox jumps over the lazy dog, again and again"


@pytest.mark.parametrize("width", [20, 40, 60, 200])
@pytest.mark.parametrize("is_rich", [True, False])
def test_a_table_is_folded_to_the_width_and_loses_nothing(
    width: int, is_rich: bool, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    if not is_rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    monkeypatch.setenv("COLUMNS", str(width))
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setattr(Output, "is_terminal", True)
    Output().table(Table(["one", "text"], [["a", LONG], ["b", ""]]))
    out = capsys.readouterr().out
    plain = out.replace("\x1b[1m", "").replace("\x1b[0m", "")
    assert max(len(line.rstrip()) for line in plain.splitlines()) <= width
    assert "".join(plain.split()) == f"ONETEXTa{''.join(LONG.split())}b"


def test_elsewhere_a_table_has_one_line_for_each_row(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(Table(["one", "text"], [["a", LONG], ["b", None]]))
    assert capsys.readouterr().out == f"ONE  TEXT\na    {LONG}\nb\n"


def test_a_table_without_rows_has_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    Output().table(Table(["one", "two"], []))
    assert capsys.readouterr().out == "ONE  TWO\n"


def test_values_have_a_text_and_a_json_form() -> None:
    address = NodeAddress("127.0.0.1", 80)
    replies = Replies({"a": 1}, {"b": RemoteError("oops")})
    assert text_of(None) == ""
    assert text_of(address) == "127.0.0.1:80"
    assert text_of("a\x1b[31mb\x07") == "a\\x1b[31mb\\x07"
    assert text_of({"a": [1, None]}) == '{"a":[1,null]}'
    assert '"indefinite":true' in json_of(replies)
    assert json_of({"node": address, "bytes": b"hi", "error": NodeUnreachable("no")}).startswith(
        '{"node":{"ip":"127.0.0.1","port":80},"bytes":"aGk=","error":{"type":"NodeUnreachable","indefinite":false,'
    )
    assert json_of({1: {2}, (1, 2): object}) is not None


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0.0s"), (1.26, "1.3s"), (61, "1m 1s"), (3600, "1h 0m"), (90_061, "1d 1h")]
)
def test_a_duration_is_shown_in_two_units(seconds: float, text: str) -> None:
    assert duration_of(seconds) == text


HOSTILE = "\x1b]0;title\x07\x9b31m\x7f\r\u202egnp.exe"
OBEYED = set("\x1b\x07\x9b\x7f\r\u202e")


def test_no_terminal_obeys_a_nodes_text(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line(HOSTILE)
    output.renew(HOSTILE)
    output.show(HOSTILE)
    output.show({HOSTILE: [HOSTILE]})
    output.show(HOSTILE, lambda text: text)
    output.table(Table(["one"], [[HOSTILE], [{HOSTILE: HOSTILE}]]))
    Output(is_json=True).show(HOSTILE)
    out = capsys.readouterr().out.replace("\x1b[1A\r", "").replace("\x1b[K", "")
    assert not OBEYED & set(out)
    assert json.loads(out.splitlines()[-1]) == HOSTILE
    assert not OBEYED & set(error_text(RemoteError(f"{HOSTILE}\nand more")))


def test_a_long_text_is_shown_whole(capsys: pytest.CaptureFixture[str]) -> None:
    text = "".join(f"{number}, " for number in range(10_000))
    Output().show(text)
    assert capsys.readouterr().out == f"{text}\n"


async def _fail(*_: object) -> bool:
    raise RemoteError(f"{HOSTILE}\nand more")


async def _break(*_: object) -> bool:
    raise KeyError(HOSTILE)


@pytest.mark.parametrize(("run_it", "status"), [(_fail, 3), (_break, 1)])
def test_an_error_is_one_harmless_line_and_one_document(
    run_it: Any, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        Command("try", "Try it.", ["127.0.0.1:1"], run_it).main(["127.0.0.1:1", "--json"])
    out, err = capsys.readouterr()
    assert (ended.value.code, err.count("\n")) == (status, 1)
    assert not OBEYED & set(out + err)
    assert json.loads(out)["error"]["indefinite"]


@pytest.mark.parametrize(("redirect", "lines"), [("| true", 1), (">/dev/full", 2)])
def test_an_error_that_nobody_reads_is_still_told_by_the_status(redirect: str, lines: int) -> None:
    command = f"({sys.executable} -m trionet members 127.0.0.1:1 --json; echo $? >&2) {redirect}"
    done = subprocess.run(["sh", "-c", command], cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert "Traceback" not in done.stderr
    assert (done.stderr.count("\n"), done.stderr.splitlines()[-1]) == (lines + 1, "1")


def test_a_target_has_a_gid_names_and_arguments() -> None:
    target = target_of(["shop/counter/add", "5", "five", "n=6", 't="6"', "[1]"])
    assert (target.gid, target.service, target.method) == ("shop", "counter", "add")
    assert (target.args, target.kwargs) == ([5, "five", [1]], {"n": 6, "t": "6"})
    assert target_of(["counter/add"], "all").gid == "all"
    assert target_of(["counter/add", '{"$bytes": "aGk="}']).args == [b"hi"]
    for word in ("{", "[1", '"a', '{"$bytes": 1}'):
        with pytest.raises(ConfigError, match="begins as JSON does"):
            target_of(["counter/add", word])


def test_types_that_are_not_here_are_read_as_dicts_for_a_while() -> None:
    data = b'[{"$type": ["nowhere:Order", {"item": "tea", "at": {"$address": ["127.0.0.1", 80]}}]}]'
    with pytest.raises(DecodeError, match="no type is registered"):
        JSON.decode(data)
    with types_as_dicts():
        assert JSON.decode(data) == [{"item": "tea", "at": NodeAddress("127.0.0.1", 80)}]
    with pytest.raises(DecodeError, match="no type is registered"):
        JSON.decode(data)


def test_a_pipe_without_a_reader_is_noticed() -> None:
    code = (
        "import sys; from trionet.streams import is_read, prepare_streams; prepare_streams(); "
        "before = is_read(sys.stdout); sys.stdin.read(); print(before, is_read(sys.stdout), file=sys.stderr)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT) as process:
        assert process.stdout is not None
        process.stdout.close()
        _, shown = process.communicate(b"")
    assert shown.split()[-1] == b"False"


def test_a_file_and_a_replaced_stream_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    prepare_streams()
    with open(tmp_path / "out", "w", encoding="utf-8") as file:
        assert is_read(file)
    assert is_read(sys.stdout)
    del monkeypatch


@pytest.mark.slow
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_completion_of_a_shell_has_all_commands(shell: str) -> None:
    done = run("completion", shell)
    assert (done.status, done.err) == (0, "")
    for name in MODULES:
        assert name in done.out
    assert "--quorum" in done.out


@pytest.mark.slow
def test_bash_completes_commands_and_options(tmp_path: Path) -> None:
    (tmp_path / "completion").write_text(run("completion", "bash").out, encoding="utf-8")

    def completed(*words: str) -> list[str]:
        code = f"source completion; COMP_WORDS=({' '.join(words)}); COMP_CWORD={len(words) - 1}; _shtab_trionet; "
        done = subprocess.run(
            ["bash", "-c", f'{code} echo "${{COMPREPLY[@]}}"'], cwd=tmp_path, capture_output=True, text=True, check=True
        )
        return done.stdout.split()

    assert completed("trionet", "memb") == ["members"]
    assert completed("trionet", "call", "--quo") == ["--quorum"]
    assert completed("trionet", "keys", "ret") == ["retire"]


def test_without_the_extra_completion_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    done = run("completion", "bash")
    assert (done.status, done.out) == (1, "")
    assert 'pip install "trionet[cli]"' in done.err


def test_python_m_trionet_is_the_same_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "trionet", "members"],
        cwd=ROOT,
        env=clean_environment() | {"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
