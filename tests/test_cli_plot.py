"""`trionet plot`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest

from trionet.cli.main import main
from trionet.simulation import Trace

if TYPE_CHECKING:
    from pathlib import Path


def status_of(*arguments: object) -> int:
    with pytest.raises(SystemExit) as ended:
        main(["plot", *map(str, arguments)])
    assert isinstance(ended.value.code, int)
    return ended.value.code


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    found = Trace()
    found.add("rumor", "n0", "n0", detail="a1")
    found.add("rumor", "n1", "n0", detail="a1")
    found.save(tmp_path / "trace.jsonl")
    return tmp_path / "trace.jsonl"


@pytest.mark.slow
def test_it_draws_what_a_saved_trace_has(trace: Path, tmp_path: Path) -> None:
    assert status_of(trace, tmp_path / "out.svg") == 0
    assert status_of(trace, tmp_path / "two.PNG", "--picture", "spread", "--picture", "rate") == 0
    assert (tmp_path / "out.svg").read_bytes().startswith(b"<?xml")
    assert (tmp_path / "two.PNG").read_bytes().startswith(b"\x89PNG")


def test_it_writes_a_page_that_compares_two_runs(trace: Path, tmp_path: Path) -> None:
    shorter = Trace()
    shorter.add("rumor", "n0", "n0", detail="a1")
    shorter.save(tmp_path / "shorter.jsonl")
    assert status_of(trace, tmp_path / "alone.html") == 0
    assert status_of(trace, tmp_path / "both.HTML", "--against", tmp_path / "shorter.jsonl") == 0
    assert '"comparison":null' in (tmp_path / "alone.html").read_text(encoding="utf-8")
    assert '"comparison":{"with":"another run"' in (tmp_path / "both.HTML").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["{trace}", "out.html", "--picture", "rate"], "--picture: a page shows the whole run"),
        (["{trace}", "out.svg", "--against", "{trace}"], "--against: a picture shows one run"),
        (["{trace}", "out.gif"], "out.gif must end in one of .png, .svg, .pdf"),
        (["{trace}", "out.svg", "--picture", "sprout"], "there is no picture 'sprout'; there are members, rate,"),
        (["{trace}"], "the following arguments are required: OUT"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(
    trace: Path, arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(*(argument.format(trace=trace) for argument in arguments)) == 2
    assert_one_line(capsys, sentence)


def test_what_cannot_be_read_or_written_is_one_line_and_status_1(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status_of(tmp_path / "none.jsonl", tmp_path / "out.svg") == 1
    assert_one_line(capsys, "none.jsonl: No such file or directory")
    assert status_of(trace, tmp_path / "nowhere" / "out.svg") == 1
    assert_one_line(capsys, "out.svg: No such file or directory")
    (tmp_path / "text.jsonl").write_text('{"at":0,"kind":"send","node":"n0"}\nhello\n')
    assert status_of(tmp_path / "text.jsonl", tmp_path / "out.svg") == 1
    assert_one_line(capsys, "text.jsonl is no trace: JSON is malformed")
    (tmp_path / "other.jsonl").write_text('{"at":0}\n')
    assert status_of(tmp_path / "other.jsonl", tmp_path / "out.svg") == 1
    assert_one_line(capsys, "other.jsonl is no trace: Object missing required field")
    (tmp_path / "binary.jsonl").write_bytes(b"\xff\xfe\x00")
    assert status_of(tmp_path / "binary.jsonl", tmp_path / "out.svg") == 1
    assert_one_line(capsys, "binary.jsonl is no trace")


def test_without_matplotlib_it_says_what_to_install(
    trace: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert status_of(trace, tmp_path / "out.svg") == 1
    assert_one_line(capsys, "pictures need matplotlib: pip install 'trionet[plots]'")


def assert_one_line(capsys: pytest.CaptureFixture[str], sentence: str) -> None:
    output, error = capsys.readouterr()
    assert output == ""
    assert error.startswith("trionet plot: ")
    assert error.count("\n") == 1
    assert sentence in error
