"""The page of a run: the run to compare with, the first differences, what fits into a page, and the page itself."""

from __future__ import annotations

import base64
import hashlib
import html.parser
import json
import re
import shutil
import subprocess
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.simulation.traces import delivered, ended, fault_events, joined, rumor, sent, state, trace_of
from trionet import ConfigError
from trionet.simulation import (
    Crash,
    OneWay,
    Passing,
    Trace,
    TraceEvent,
    Trial,
    Violation,
    nearest_passing,
    run_trial,
    write_report,
)
from trionet.simulation.report.cutting import kept_around
from trionet.simulation.report.differences import differences_of
from trionet.simulation.report.document import document_of
from trionet.simulation.report.joining import join_modules
from trionet.simulation.report.runs import run_of

CUT = OneWay(at_s=1, duration_s=1, sources=[0], targets=[1])
LATER = OneWay(at_s=2, duration_s=1, sources=[1], targets=[0])
CRASH = Crash(at_s=3, node=1)
TRIAL = Trial(seed=5, nodes=2, duration_s=5, faults=[CUT, CRASH, LATER])
FAILURE = [Violation(invariant="program", at_s=1.0, text="it fails")]
ROOM = 10_000
STATIC = Path(__file__).parents[2] / "trionet" / "simulation" / "report" / "static"


# ---- the passing run


def passing_of(trial: Trial, *, passes: Any, most_runs: int = 24) -> tuple[Passing | None, list[Trial]]:
    tried: list[Trial] = []

    def run(trial: Trial) -> list[Violation]:
        tried.append(trial)
        return [] if passes(trial) else FAILURE

    return nearest_passing(trial, run, most_runs=most_runs), tried


def test_a_run_without_its_last_fault_is_nearest_if_it_passes() -> None:
    found, tried = passing_of(TRIAL, passes=lambda trial: len(trial.faults) < 3)
    assert found == Passing(msgspec.structs.replace(TRIAL, faults=[CUT, LATER]), [CRASH])
    assert len(tried) == 1


def test_then_come_the_other_faults_all_faults_and_other_seeds() -> None:
    found, _ = passing_of(TRIAL, passes=lambda trial: CUT not in trial.faults)
    assert found is not None
    assert found.without == [CUT]
    found, _ = passing_of(TRIAL, passes=lambda trial: not trial.faults)
    assert found is not None
    assert found.without == TRIAL.faults
    found, tried = passing_of(TRIAL, passes=lambda trial: trial.seed == 7)
    assert found == Passing(msgspec.structs.replace(TRIAL, seed=7))
    assert [trial.seed for trial in tried] == [5, 5, 5, 5, 4, 6, 3, 7]


def test_no_seed_is_negative_and_the_number_of_runs_is_limited() -> None:
    found, tried = passing_of(Trial(seed=1, faults=[]), passes=lambda _: False, most_runs=6)
    assert found is None
    assert [trial.seed for trial in tried] == [0, 2, 3, 4, 5, 6]
    assert passing_of(TRIAL, passes=lambda _: True, most_runs=0) == (None, [])


def test_two_equal_faults_are_two() -> None:
    trial = msgspec.structs.replace(TRIAL, faults=[CUT, msgspec.structs.replace(CUT)])
    found, _ = passing_of(trial, passes=lambda trial: len(trial.faults) == 1)
    assert found is not None
    assert found.trial.faults == [CUT]


# ---- the first difference


def test_with_one_seed_the_first_different_event_is_an_effect_of_the_fault() -> None:
    same = [sent(0.5, "n0", "n1", 1), delivered(0.6, "n0", "n1", 1), sent(1.2, "n0", "n1", 2)]
    lost = TraceEvent(1.2, "drop", "n0", "n1", "datagram", 2, 10)
    got = delivered(1.3, "n0", "n1", 2)
    failing = trace_of(same, fault_events(CUT, 1, 2), lost, state(2.5, "n0", "n1", "MemberSuspected"), ended(3))
    found = differences_of(failing, trace_of(same, got, ended(3)), are_seeds_equal=True)
    assert found.event is not None
    assert (found.event.failing, found.event.passing) == (lost, got)
    assert found.event.before == same
    assert found.action is not None
    assert found.action.failing is not None
    assert found.action.failing.what == "MemberSuspected"
    assert found.action.passing is None


def check_that_runs_are_equal_until_the_last_fault(seed: int) -> None:
    whole = Trial(seed=seed, nodes=4, duration_s=8).explicit()
    faults = sorted(whole.schedule(), key=lambda fault: fault.at_s)
    one, other = (run_trial(msgspec.structs.replace(whole, faults=some)).trace for some in (faults, faults[:-1]))
    found = differences_of(one, other, are_seeds_equal=True).event
    last = msgspec.json.encode(faults[-1]).decode()
    begins = [event.at for event in one.select("fault", detail=last) if event.what.endswith(" begins")]
    assert begins
    assert found is None or found.at >= begins[0]


@pytest.mark.slow
def test_with_one_seed_runs_are_equal_until_the_fault_begins_that_one_of_them_lacks() -> None:
    check_that_runs_are_equal_until_the_last_fault(3)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(50))
def test_so_they_are_with_many_seeds(seed: int) -> None:
    check_that_runs_are_equal_until_the_last_fault(seed)


def call(
    at: float, kind: Any, node: str, what: str = "local/stock/sell", detail: str = "id", peer: str = "n1"
) -> TraceEvent:
    return TraceEvent(at, kind, node, peer, what, 0, 0, detail)


def test_with_other_seeds_the_order_of_handlers_at_a_node_differs_whatever_times_ids_and_peers_are() -> None:
    passing = trace_of(
        [call(1, "begin", "n0", detail="a"), call(2, "end", "n0", detail="a"), call(3, "begin", "n0", detail="b")],
        [call(4, "end", "n0", detail="b"), rumor(0.1, "n0", "n1"), sent(0.1, "n0", "n1", 1)],
    )
    failing = trace_of(
        [call(1.5, "begin", "n0", detail="x", peer="n2"), call(1.6, "begin", "n0", detail="y")],
        [call(2.5, "end", "n0", detail="x"), call(2.6, "end", "n0", detail="y"), *joined(2)],
    )
    found = differences_of(failing, passing, are_seeds_equal=False)
    assert found.event is None
    assert found.action is not None
    assert found.action.failing == call(1.6, "begin", "n0", detail="y")
    assert found.action.passing == call(2, "end", "n0", detail="a")
    assert found.action.before == [call(1.5, "begin", "n0", detail="x", peer="n2")]


def test_another_error_is_a_difference_and_a_call_of_membership_is_none() -> None:
    fine, late = call(1, "answer", "n0", detail="a"), call(1, "answer", "n0", detail="b CallTimeout")
    inner = call(0.5, "call", "n0", "local/membership/packet")
    found = differences_of(trace_of(late, inner), trace_of(fine), are_seeds_equal=False)
    assert found.action is not None
    assert (found.action.failing, found.action.passing) == (late, fine)


def test_equal_runs_do_not_differ() -> None:
    trace = trace_of(joined(3), sent(1, "n0", "n1", 1), ended(2))
    found = differences_of(trace, trace, are_seeds_equal=True)
    assert (found.event, found.action) == (None, None)


# ---- what fits


@given(st.lists(st.integers(1, 50), max_size=60), st.lists(st.integers(0, 59), max_size=3), st.integers(0, 2000))
def test_what_is_kept_fits_and_what_is_not_is_told(sizes: list[int], focuses: list[int], most: int) -> None:
    kept = kept_around(sizes, focuses, most)
    assert sum(sizes[index] for index in kept.indexes) <= most or not kept.indexes
    left_out = [index for first, last in kept.gaps for index in range(first, last + 1)]
    assert sorted([*kept.indexes, *left_out]) == list(range(len(sizes)))
    assert all(one.last + 1 < other.first for one, other in pairwise(kept.gaps))
    assert kept.gaps or len(kept.indexes) == len(sizes)


def test_what_is_nearest_to_the_focuses_is_kept() -> None:
    assert kept_around([1] * 100, [20, 80], 6).indexes == [19, 20, 21, 79, 80, 81]
    assert kept_around([1] * 100, [20, 80], 6).gaps == [(0, 18), (22, 78), (82, 99)]


def test_a_long_run_is_cut_around_the_failure_and_the_gaps_are_counted() -> None:
    trace = trace_of(*(sent(at / 10, "n0", "n1", at) for at in range(1000)))
    run = run_of(trace, [50.0], most_bytes=2000)
    kept = len(run["messages"])
    assert len(json.dumps(run["messages"], separators=(",", ":"))) <= 2010
    assert sum(count for *_, count in run["left_out"]) == 1000 - kept
    assert abs(run["messages"][kept // 2][0] - 50_000_000) < 1_000_000
    assert run["events_in_trace"] == 1000


# ---- the data


def test_a_message_has_its_way_and_its_fate() -> None:
    lost = TraceEvent(1.0, "drop", "n0", "n1", "call", 2, 10)
    again = [delivered(1.5, "n0", "n1", 2, "call"), delivered(1.7, "n0", "n1", 2, "call")]
    run = run_of(trace_of(sent(0.25, "n0", "n1", 1), sent(1.0, "n0", "n1", 2, "call"), lost, again, ended(9)), [], ROOM)
    assert run["nodes"] == ["n0", "n1"]
    assert run["kinds"] == [["datagram", "datagrams"], ["call", "calls"]]
    assert run["messages"] == [
        [250_000, 0, 1, 0, -1, -1, 10, 1],
        [1_000_000, 0, 1, 1, 500_000, 0, 10, 2],
        [1_000_000, 0, 1, 1, 700_000, 0, 10, 2],
    ]
    assert run["events"] == [[9_000_000, "note", -1, -1, run["names"].index("the end"), ""]]


def test_faults_and_lives_are_spans() -> None:
    run = run_of(trace_of(joined(2), fault_events(CUT, 1, 2), fault_events(CRASH, 3), ended(5)), [], ROOM)
    assert [(fault["begin"], fault["end"], fault["label"], fault["nodes"]) for fault in run["faults"]] == [
        (1_000_000, 2_000_000, "one-way cut n0 to n1", [0, 1]),
        (3_000_000, 5_000_000, "crash n1", [1]),
    ]
    assert run["runs"] == [[[0, 5_000_000]], [[0, 3_000_000]]]


def test_a_document_tells_with_what_it_compares() -> None:
    def compared(passing: Passing) -> str:
        document = document_of(trace_of(joined(2)), TRIAL, FAILURE, passing, trace_of(joined(3)))
        told: str = document["comparison"]["with"]
        return told

    with_two = msgspec.structs.replace(TRIAL, faults=[CUT, LATER])
    assert compared(Passing(with_two, [CRASH])).startswith(
        "the same run without one of its faults: at 3 s, for good: Crash"
    )
    none = msgspec.structs.replace(TRIAL, faults=[])
    assert compared(Passing(none, [CUT, LATER, CRASH])) == "the same run without its 3 faults"
    assert compared(Passing(none, [CRASH])).startswith("the same run without its only fault: at 3 s")
    assert compared(Passing(msgspec.structs.replace(TRIAL, seed=4))) == "the same trial, faults included, with seed 4"


def test_a_long_trial_is_a_file_beside_the_command() -> None:
    long = msgspec.structs.replace(TRIAL, faults=[CUT] * 3000)
    described = document_of(Trace(), long)["trial"]
    assert described["command"] == "trionet simulate --replay trial.json"
    assert Trial.from_json(described["file"]) == long
    assert described["faults_left_out"] == 2500
    assert Trial.from_json(document_of(Trace(), TRIAL)["trial"]["command"].split("'")[1]) == TRIAL


# ---- the page


class Parsed(html.parser.HTMLParser):
    """The elements of a page, with the texts of scripts and styles."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        if self.elements and data.strip():
            self.texts[self.elements[-1][0]] = data


def page(tmp_path: Path, trace: Trace | None = None, **options: Any) -> str:
    path = tmp_path / "report.html"
    write_report(trace_of(joined(2), sent(1, "n0", "n1", 1), ended(2)) if trace is None else trace, path, **options)
    return path.read_bytes().decode()


HOSTILE = "</script><img src=x onerror=alert(1)><!-- <script> \u2028 \ud800 '\"&amp;"


def test_a_page_has_one_script_and_one_style_which_its_policy_allows_by_their_hashes(tmp_path: Path) -> None:
    trace = trace_of(sent(1, HOSTILE, "n1", 1, HOSTILE), TraceEvent(1, "note", HOSTILE, "", HOSTILE, 0, 0, HOSTILE))
    trial = Trial(program=f"x:{HOSTILE.replace(chr(0xD800), '')}", faults=[])
    text = page(tmp_path, trace, trial=trial, violations=[Violation(invariant=HOSTILE, at_s=1, text=HOSTILE)])
    parsed = Parsed(text)
    tags = [tag for tag, _ in parsed.elements]
    assert sorted(tags) == ["body", "head", "html", *["meta"] * 5, "noscript", "script", "style", "title"]
    assert all(not attributes for tag, attributes in parsed.elements if tag in ("script", "style"))
    policy = next(attributes["content"] for _, attributes in parsed.elements if "http-equiv" in attributes)
    hashes = {
        tag: base64.b64encode(hashlib.sha256(parsed.texts[tag].encode()).digest()).decode()
        for tag in ("script", "style")
    }
    assert policy == (
        f"default-src 'none'; script-src 'sha256-{hashes['script']}'; style-src 'sha256-{hashes['style']}';"
        " base-uri 'none'; form-action 'none'"
    )
    assert "\\u003c/script>\\u003cimg" in parsed.texts["script"]
    assert not re.search(r"https?://(?!www\.w3\.org)", text)


def test_equal_runs_give_equal_pages_and_a_saved_trace_the_same(tmp_path: Path) -> None:
    trace = trace_of(joined(2), sent(1.23456789012345, "n0", "n1", 1), ended(2))
    trace.save(tmp_path / "trace.jsonl")
    assert page(tmp_path, trace) == page(tmp_path, Trace.load(tmp_path / "trace.jsonl"))


@pytest.mark.slow
def test_a_page_is_smaller_than_5_megabytes_whatever_the_run(tmp_path: Path) -> None:
    notes = (TraceEvent(float(at), "note", f"n{at % 3000}", "", f"<{at}>" * 60, 0, 0, "<ü" * 300) for at in range(9000))
    violations = [Violation(invariant="x" * 9000, at_s=1, text="y" * 99_000, nodes=["n" * 5000] * 999)] * 99
    trial = msgspec.structs.replace(TRIAL, faults=[CUT] * 5000, program="z" * 5000 + ":x")
    text = page(tmp_path, trace_of(notes), trial=trial, violations=violations)
    assert len(text.encode()) < 5_000_000


def test_an_empty_trace_gives_a_page(tmp_path: Path) -> None:
    assert "<script>" in page(tmp_path, Trace(), trial=TRIAL, violations=FAILURE)


@pytest.mark.parametrize(
    ("trace", "options", "text"),
    [
        ([], {}, "a report is about a Trace, not []"),
        (Trace(), {"path": 5}, "a path is a text or a Path, not 5"),
        (Trace(), {"trial": "{}"}, "a trial is a Trial, not '{}'"),
        (Trace(), {"violations": 5}, "violations are a list, not 5"),
        (Trace(), {"violations": ["oh"]}, "a violation is a Violation, not 'oh'"),
        (Trace(), {"passing": TRIAL}, "what passes is a Passing, as from nearest_passing, not Trial("),
        (Trace(), {"passing_trace": "x"}, "a trace is a Trace, not 'x'"),
    ],
)
def test_other_types_are_refused(trace: Any, options: dict[str, Any], text: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(text)}"):
        write_report(trace, options.pop("path", tmp_path / "x.html"), **options)
    assert not (tmp_path / "x.html").exists()


@pytest.mark.parametrize(("trial", "options"), [("{}", {}), (TRIAL, {"most_runs": "2"})])
def test_the_search_for_a_passing_run_refuses_them_too(trial: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        nearest_passing(trial, lambda _: [], **options)


# ---- joined modules


def joined_of(**modules: str) -> str:
    return join_modules("main.js", lambda name: modules[name.removesuffix(".js")])


def test_modules_become_one_script_that_does_the_same() -> None:
    script = joined_of(
        main='import { one, two as deux } from "./a.js";\nimport { one as b } from "./b.js";\n'
        "export const all = [one, deux(), b];",
        a="export const one = 1;\nexport function two() {\n  return own;\n}\nconst own = 2;\n",
        b='import { one } from "./a.js";\r\nconst hidden = one + 10;\nexport { hidden as one };\n',
    )
    assert "import" not in script.replace("imported", "")
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")
    done = subprocess.run(
        [node, "-e", f"{script}console.log(JSON.stringify(main.all))"], capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.stderr) == ("[1,2,11]\n", "")


@pytest.mark.parametrize(
    ("modules", "text"),
    [
        ({"main": 'import x from "./a.js";'}, "of this form can't be joined: import x"),
        ({"main": 'import * as x from "./a.js";'}, "of this form can't be joined"),
        ({"main": 'const x = await import("./a.js");'}, "of this form can't be joined"),
        ({"main": "const x = import.meta.url;"}, "of this form can't be joined"),
        ({"main": "export default 5;"}, "of this form can't be joined: export default"),
        ({"main": 'export * from "./a.js";'}, "of this form can't be joined"),
        ({"main": 'import { two } from "./a.js";', "a": "export const one = 1, two = 2;"}, "a.js exports no two"),
        ({"main": 'import { one.two } from "./a.js";', "a": ""}, "'one.two' is no name"),
        (
            {"main": 'import { a } from "./a.js";', "a": 'import { b } from "./main.js";'},
            "circle: main.js -> a.js -> main.js",
        ),
    ],
)
def test_what_can_not_be_joined_is_an_error(modules: dict[str, str], text: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(text)):
        joined_of(**modules)


@pytest.mark.slow
def test_the_pure_modules_keep_their_promises() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not on PATH")
    tests = sorted(map(str, Path(__file__).with_name("report").glob("*.test.mjs")))
    done = subprocess.run([node, "--test", *tests], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_no_module_reads_texts_as_html() -> None:
    for path in STATIC.iterdir():
        text = path.read_text(encoding="utf-8")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|\beval\(|new Function|document\.write", text), (
            path.name
        )


def test_no_file_of_the_page_hides_one_that_it_shares_with_the_dashboard() -> None:
    shared = STATIC.parents[2] / "dashboard" / "static"
    assert {path.name for path in STATIC.iterdir()} & {path.name for path in shared.iterdir()} == set()
