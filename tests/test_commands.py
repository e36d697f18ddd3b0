"""Every command that is a client of a running cluster, against one of five processes."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.commands import Done, run
from tests.node_processes import PROBE, ROOT, clean_environment, launch, wait_ready
from tests.ports import free_port
from tests.waiting import DEADLINE_S
from trionet import NodeConfig
from trionet.cli.frame import Command
from trionet.cli.registry import MODULES, PURPOSES, load

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

pytestmark = pytest.mark.slow

NODES = 5
SERVICES = {**PROBE, "counter": "tests.samples:Counter", "ticker": "tests.samples:Ticker"}
ESCAPES = re.compile("\x1b\\[[0-9;]*[A-Za-z]")
COMMANDS = {
    name: command
    for name in MODULES
    if name != "keys"
    for command in [load(name)]
    if isinstance(command, Command) and MODULES[name].startswith((".commands", ".reload"))
}
LOOKS = {
    "members": [],
    "calls": [],
    "groups": [],
    "services": [],
    "events": [],
    "status": [],
    "statistics": [],
    "config": [],
    "tags": [],
    "logs": [],
    "ping": ["--count", "1", "--wait", "20"],
    "top": ["--count", "1", "--interval", "0.2"],
    "dashboard": ["--no-browser"],
    "doctor": ["--once"],
    "call": ["probe/pid"],
    "gossip": ["counter/add", "1"],
}
"""The commands that can be run again and again, with their arguments."""

OF_ALL = ["members", "groups", "services", "events", "status", "statistics", "config", "tags", "logs"]


class Cluster(NamedTuple):
    """A cluster of processes.

    Attributes:
        address: that of its first node.
        sids: those of all, in SID order.
    """

    address: str
    sids: list[str]


@pytest.fixture(scope="module")
def cluster() -> Generator[Cluster]:
    """Five nodes: one, and four that it has spawned."""
    config = NodeConfig(join=[], services=SERVICES, profile="local", tags={"role": "first"})
    with ExitStack() as stack:
        node = wait_ready(launch(stack, config, {}))
        address = str(node.address)
        for _ in range(NODES - 1):
            services = json.dumps(SERVICES)
            done = run("spawn", address, f"services={services}", "profile=local")
            assert (done.status, done.err) == (0, "")
        until(lambda: len(run("members", address, "--json").document) == NODES)
        yield Cluster(address, [member["sid"] for member in run("members", address, "--json").document])


def until(holds: Callable[[], bool]) -> None:
    """Return once ``holds()``, which takes its time."""
    end = time.monotonic() + DEADLINE_S
    while not holds():
        assert time.monotonic() < end


def one_line(done: Done, status: int) -> str:
    """Return the one line on standard error of a command that has failed with a status."""
    assert (done.status, done.err.count("\n")) == (status, 1), done
    assert "Traceback" not in done.err
    return done.err


# ---- every command


def test_the_table_has_all_commands_of_this_kind() -> None:
    assert set(LOOKS) | {"spawn", "stop", "join", "leave", "forget", "reload", "cancel"} == set(COMMANDS)


@pytest.mark.parametrize("name", sorted(MODULES))
def test_help_has_an_example_that_begins_with_the_command(name: str) -> None:
    done = run(name, "--help")
    if name == "maelstrom":
        done = run(name, "test", "--help")
    assert (done.status, done.err) == (0, "")
    prefix = {"node": "trionet-node", "maelstrom": "trionet maelstrom test"}.get(name, f"trionet {name}")
    assert re.search(rf"\nexamples:\n(  .*\n)*  {prefix}\b", done.out), done.out
    assert re.search(r"\nexit status\b", done.out)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_examples_of_help_can_be_parsed(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRIONET_ADDR", raising=False)
    import shlex

    for example in COMMANDS[name].examples:
        options = COMMANDS[name].options(shlex.split(example))
        COMMANDS[name].take_address(options)
        assert str(options.node) == example.split()[0]


def test_help_names_all_commands() -> None:
    done = run("--help")
    assert (done.status, done.err) == (0, "")
    for commands in PURPOSES.values():
        for name, (_, purpose) in commands.items():
            assert re.search(rf"\n  {name} +{re.escape(purpose)}\n", done.out)


@pytest.mark.parametrize("name", sorted(COMMANDS))
@pytest.mark.parametrize("address", ["127.0.0.1:99999", "127.0.0.1:", "a:b", "127.0.0.1:0"])
def test_a_wrong_address_is_wrong_usage(name: str, address: str) -> None:
    assert "address" in one_line(run(name, address, *words_of(name)), 2) or address.endswith(":0")


def words_of(name: str) -> list[str]:
    return LOOKS.get(name) or {"join": ["127.0.0.1:1"], "forget": ["0123456789"], "cancel": ["an-id"]}.get(name, [])


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_no_address_is_wrong_usage(name: str) -> None:
    words = [word for word in words_of(name) if ":" not in word]
    assert "TRIONET_ADDR" in one_line(run(name, *words), 2)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_a_dead_node_is_one_line_and_a_json_document(name: str) -> None:
    address = f"127.0.0.1:{free_port()}"
    line = one_line(run(name, address, *words_of(name)), 1)
    assert line.startswith(f"trionet {name}: no connection to {address}: ")
    done = run(name, address, *words_of(name), "--json")
    assert "no connection" in one_line(done, 1)
    assert (done.document["error"]["type"], done.document["error"]["indefinite"]) == ("NodeUnreachable", False)


def check_done(name: str, done: Done) -> None:
    """Check that a command has succeeded; a doctor may find that the machine of the tests is busy."""
    assert done.err == ""
    assert done.status == 0 or (name == "doctor" and done.status == 1)


@pytest.mark.parametrize("name", LOOKS)
def test_json_is_one_document(cluster: Cluster, name: str) -> None:
    done = run(name, cluster.address, *LOOKS[name], "--json")
    check_done(name, done)
    assert done.document is not None
    assert done.out.count("\n") == 1


@pytest.mark.parametrize("name", OF_ALL)
def test_of_all_members_there_are_values_and_errors(cluster: Cluster, name: str) -> None:
    done = run(name, cluster.address, "--all", "--json")
    assert (done.status, done.err) == (0, "")
    assert sorted(done.document["values"]) == cluster.sids
    assert done.document["errors"] == {}
    text = run(name, cluster.address, "--all")
    assert (text.status, text.out.split()[0]) == (0, "NODE")


@pytest.mark.parametrize("name", LOOKS)
def test_without_a_terminal_there_are_neither_colours_nor_folded_lines(cluster: Cluster, name: str) -> None:
    done = run(name, cluster.address, *LOOKS[name], COLUMNS="20")
    check_done(name, done)
    assert "\x1b" not in done.out
    if name == "members":
        assert len(done.out.splitlines()) == 1 + NODES


@pytest.mark.parametrize("is_rich", [True, False])
@pytest.mark.parametrize("name", LOOKS)
def test_a_table_fits_a_narrow_terminal(
    cluster: Cluster, name: str, is_rich: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not is_rich:
        monkeypatch.setitem(sys.modules, "rich.console", None)
    done = run(name, cluster.address, *LOOKS[name], width=60)
    check_done(name, done)
    lines = ESCAPES.sub("", done.out.replace("\x1b[1A\r", "\n")).splitlines()
    assert max(map(len, lines)) <= 60
    if name not in ("call", "gossip", "top", "dashboard", "doctor", "calls"):
        assert ("\x1b[" in done.out) == is_rich


def test_no_color_is_respected(cluster: Cluster) -> None:
    assert "\x1b[" in run("members", cluster.address, width=100).out
    assert "\x1b[" not in run("members", cluster.address, width=100, NO_COLOR="1").out
    assert "\x1b[" not in run("members", cluster.address, width=100, TERM="dumb").out


@pytest.mark.parametrize("name", LOOKS)
def test_the_address_may_come_from_the_environment(cluster: Cluster, name: str) -> None:
    check_done(name, run(name, *LOOKS[name], TRIONET_ADDR=cluster.address))


def test_the_address_on_the_command_line_goes_before_the_environment(cluster: Cluster) -> None:
    assert run("call", cluster.address, "probe/pid", TRIONET_ADDR="127.0.0.1:1").status == 0


@pytest.mark.parametrize("name", LOOKS)
def test_a_node_without_a_cluster_can_be_looked_at(lone: str, name: str) -> None:
    check_done(name, run(name, lone, *LOOKS[name]))


@pytest.fixture(scope="module")
def lone() -> Generator[str]:
    """The address of a node that belongs to no cluster."""
    with ExitStack() as stack:
        yield str(wait_ready(launch(stack, NodeConfig(services=SERVICES), {})).address)


@pytest.mark.parametrize("name", ["call", "gossip"])
def test_a_group_without_members_is_an_error(lone: str, name: str) -> None:
    assert run("call", lone, "groups/put", "empty", "[]").status == 0
    assert "empty" in one_line(run(name, lone, "empty/counter/add", "1"), 1)
    assert "there is no group 'nobody'" in one_line(run(name, lone, "nobody/counter/add", "1"), 1)


# ---- wrong usage


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["membrs"], "there is no command 'membrs'; did you mean members?"),
        (["xyzzy"], "there are demo, node"),
        ([], "give a command"),
        (["members", "ADDR", "more"], "unexpected arguments: more"),
        (["members", "ADDR", "--jsno"], "did you mean --json"),
        (["members", "ADDR", "--timeout", "soon"], "a number of seconds, not 'soon'"),
        (["members", "ADDR", "--timeout", "-1"], "a number of seconds"),
        (["events", "ADDR", "-n", "-1"], "-n"),
        (["events", "ADDR", "-n", "many"], "a number from 0 to 10000"),
        (["call", "ADDR"], "give [GID/]SERVICE/METHOD"),
        (["call", "ADDR", "pid"], "a method is SERVICE/METHOD"),
        (["call", "ADDR", "a/b/c/d"], "a method is SERVICE/METHOD"),
        (["call", "ADDR", "no no/pid"], "a service name is 1 to 128 of letters"),
        (["call", "ADDR", "probe/sleep", "{1"], "begins as JSON does, and is none"),
        (["call", "ADDR", "probe/pid", "--first"], "--first is for a call of a group"),
        (["call", "ADDR", "all/probe/pid", "--first", "--quorum", "2"], "--first or --quorum"),
        (["call", "ADDR", "all/probe/pid", "--quorum", "two"], "invalid int value"),
        (["call", "ADDR", "all/probe/pid", "--partial"], "--partial needs a time limit"),
        (["call", "ADDR", "probe/pid", "a=1", "a=2"], "the argument a is given twice"),
        (["calls", "ADDR", "--within", "soon"], "a number of seconds, not 'soon'"),
        (["ping", "ADDR", "--count", "few"], "a number from 1 to 1,000,000, not 'few'"),
        (["ping", "ADDR", "--wait", "inf"], "a number of seconds"),
        (["top", "ADDR", "--count", "few"], "a positive number, not 'few'"),
        (["top", "ADDR", "--interval", "soon"], "at least 0.1, not 'soon'"),
        (["call", "ADDR", "probe/pid", "--repeat", "-2"], "--repeat is a number of seconds"),
        (["tags", "ADDR", "role"], "a tag is given as name=value"),
        (["tags", "ADDR", "role=a", "--all"], "without --all"),
        (["spawn", "ADDR", "prot=8080"], "there is no setting 'prot'; there is 'port'"),
        (["spawn", "ADDR", "port=x"], "port"),
        (["join", "ADDR"], "give SEED"),
        (["join", "ADDR", "nowhere"], "not a node address"),
        (["members", "ADDR", "--key-file", "/nowhere"], "make a key with: trionet keys new FILE"),
        (["members", "ADDR", "--token", "/nowhere"], "--token names a file with a token"),
        (["members", "ADDR", "--token", "/etc/hostname", "--key-file", "/nowhere"], "a token or a key file, not both"),
        (["members", "ADDR", "--ca-file", "/nowhere"], "go together"),
        (["keys", "use", "ADDR"], "give KEY_ID"),
        (["keys", "statsu"], "did you mean status?"),
        (["completion", "fish"], "did you mean"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(lone: str, words: list[str], reason: str) -> None:
    done = run(*(word.replace("ADDR", lone) for word in words))
    assert reason in one_line(done, 2)
    assert done.out == ""


def test_a_token_is_never_quoted(lone: str) -> None:
    secret = "trionet-token-" + 40 * "a"
    assert secret not in one_line(run("members", lone, "--token", secret), 2)
    assert "no token" in one_line(run("members", lone, TRIONET_TOKEN="two words"), 2)


def test_debug_shows_the_traceback_and_else_there_is_none() -> None:
    address = f"127.0.0.1:{free_port()}"
    assert "Traceback" not in run("members", address).err
    assert run("members", address, "--debug").status == 1


# ---- call


def test_a_call_of_one_node_prints_the_value(cluster: Cluster) -> None:
    done = run("call", cluster.address, "probe/sleep", "seconds=0")
    assert (done.status, done.out, done.err) == (0, "slept\n", "")
    assert run("call", cluster.address, "probe/sleep", "0", "--json").document == "slept"
    assert run("call", cluster.address, "status/get", "sid").out.strip() in cluster.sids


def test_arguments_are_json_or_plain_words(cluster: Cluster) -> None:
    def sent(*words: str) -> Any:
        return run("call", cluster.address, "echo/back", *words, "--json").document

    assert run("call", cluster.address, "routes/put", "tests.samples:Echo", "echo").status == 0
    assert sent("5", "true", "plain", '"5"', "[1, 2]", '{"a": null}', "-3") == [
        [5, True, "plain", "5", [1, 2], {"a": None}, -3],
        {},
    ]
    assert sent("a", "n=1", "text=x=y", 'quoted="1"') == [["a"], {"n": 1, "text": "x=y", "quoted": "1"}]


def test_a_type_that_the_command_does_not_have_is_shown_by_its_fields(cluster: Cluster) -> None:
    assert run("call", cluster.address, "routes/put", "tests.samples:Echo", "echo").status == 0
    assert run("call", cluster.address, "echo/order", "--json").document == {"item": "tea", "count": 2}


def test_a_call_of_a_group_prints_values_and_errors_by_node(cluster: Cluster) -> None:
    done = run("call", cluster.address, "all/probe/pid", "--json")
    assert sorted(done.document["values"]) == cluster.sids
    assert len(set(done.document["values"].values())) == NODES
    text = run("call", cluster.address, "all/probe/fail", "oops")
    assert (text.status, text.out.count("RemoteError: ValueError: oops")) == (1, NODES)
    failed = run("call", cluster.address, "all/probe/fail", "oops", "--json")
    assert (failed.status, sorted(failed.document["errors"])) == (1, cluster.sids)
    assert {error["indefinite"] for error in failed.document["errors"].values()} == {True}


def test_a_group_wide_service_goes_before_that_of_the_members(cluster: Cluster) -> None:
    done = run("call", cluster.address, "all/status/get", "counts", "--json")
    assert done.document["value"] == sum(done.document["values"].values())
    assert "\nsum  " in run("call", cluster.address, "all/status/get", "counts").out


def test_the_first_value_or_a_quorum_is_enough(cluster: Cluster) -> None:
    assert len(run("call", cluster.address, "all/probe/pid", "--first", "--json").document["values"]) == 1
    assert len(run("call", cluster.address, "all/probe/pid", "--quorum", "3", "--json").document["values"]) == 3
    assert "1 to 5" in one_line(run("call", cluster.address, "all/probe/pid", "--quorum", "9"), 1)


def test_a_partial_result_comes_at_the_time_limit(cluster: Cluster) -> None:
    done = run("call", cluster.address, "all/probe/sleep", "30", "--partial", "--timeout", "2", "--json")
    assert (done.status, done.err) == (1, "")
    assert {error["type"] for error in done.document["errors"].values()} == {"CallTimeout"}
    assert sorted(done.document["errors"]) == cluster.sids


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        (["probe/fail", "oops"], 3, "RemoteError"),
        (["probe/sleep", "30", "--timeout", "0.2"], 3, "CallTimeout"),
        (["probe/sleep", "soon"], 1, "MalformedRequest"),
        (["probe/pdi"], 1, "MethodNotFound"),
        (["prob/pid"], 1, "ServiceNotFound"),
        (["ticker/ticks"], 1, "MalformedRequest"),
    ],
)
def test_the_exit_status_tells_whether_it_may_have_happened(
    cluster: Cluster, words: list[str], status: int, kind: str
) -> None:
    done = run("call", cluster.address, *words, "--json")
    one_line(done, status)
    assert (done.document["error"]["type"], done.document["error"]["indefinite"]) == (kind, status == 3)


def test_an_unknown_method_is_answered_with_the_most_similar_ones(cluster: Cluster) -> None:
    assert run("call", cluster.address, "probe/pdi").err.count("did you mean") == 1
    assert f"see: trionet services {cluster.address}" in run("call", cluster.address, "zzzz/qqqq").err


def test_a_stream_is_printed_item_by_item(cluster: Cluster) -> None:
    done = run("call", cluster.address, "ticker/ticks", "3", "--stream")
    assert (done.status, done.out, done.err) == (0, "0\n1\n2\n", "")
    done = run("call", cluster.address, "ticker/ticks", "count=2", "--stream", "--json")
    assert [one["item"] for one in done.documents] == [0, 1]
    done = run("call", cluster.address, "all/ticker/ticks", "2", "--stream", "--json")
    assert sorted((one["sid"], one["item"]) for one in done.documents) == [(s, n) for s in cluster.sids for n in (0, 1)]
    done = run("call", cluster.address, "probe/pid", "--stream", "--json")
    assert (done.status, list(done.documents[0])) == (1, ["sid", "error"])


def test_the_time_of_a_stream_is_limited(cluster: Cluster) -> None:
    done = run("call", cluster.address, "inspection/watch_events", "--stream", "--timeout", "0.2", "--json")
    assert "no answer within 0.2 s" in one_line(done, 3)


def test_a_call_is_repeated_until_nobody_reads(cluster: Cluster) -> None:
    words = ("call", cluster.address, "counter/add", "0", "--repeat", "0.01", "--json")
    with command(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        lines = [process.stdout.readline() for _ in range(3)]
        process.stdout.close()
        assert (process.wait(DEADLINE_S), process.stderr.read()) == (0, "")
    assert len(set(lines)) == 1
    assert lines[0].strip().isdecimal()


# ---- gossip


def test_a_rumor_reaches_all_and_that_is_shown(cluster: Cluster) -> None:
    before = run("call", cluster.address, "all/counter/total", "--json").document["values"]
    done = run("gossip", cluster.address, "counter/add", "amount=2", "--json")
    assert (done.document["known"], done.document["members"], done.document["errors"]) == (NODES, NODES, {})
    after = run("call", cluster.address, "all/counter/total", "--json").document["values"]
    assert after == {sid: total + 2 for sid, total in before.items()}
    text = run("gossip", cluster.address, "all/counter/add", "2").out
    assert re.search(rf"^rumor [0-9a-f]+\n(.*\n)*{NODES} of {NODES} members have it, after ", text)


# ---- following


def test_a_rumor_for_a_method_that_the_node_does_not_have_is_no_success(cluster: Cluster) -> None:
    done = run("gossip", cluster.address, "counter/ad", "1")
    assert "has no method counter/ad: a rumor's call fails there" in one_line(done, 1)


def command(*words: str, **given: Any) -> subprocess.Popen[str]:
    environment = clean_environment() | given.pop("environment", {})
    return subprocess.Popen([sys.executable, "-m", "trionet", *words], cwd=ROOT, env=environment, text=True, **given)


@pytest.mark.parametrize("name", ["events", "logs"])
def test_events_and_logs_are_followed_as_json_lines_until_ctrl_c(cluster: Cluster, name: str) -> None:
    pipe = subprocess.PIPE
    with command(name, cluster.address, "-f", "-n", "3", "--json", stdout=pipe, stderr=pipe) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        documents = [json.loads(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGINT)
        assert (process.wait(DEADLINE_S), process.stderr.read()) == (130, "")
    assert {tuple(one) for one in documents} == {("sid", "item")}
    if name == "events":
        assert run(name, cluster.address, "-n", "3", "--json").document == [one["item"] for one in documents]


def test_following_for_some_time_is_no_failure(cluster: Cluster) -> None:
    done = run("logs", cluster.address, "-f", "--timeout", "0.1")
    assert (done.status, done.err) == (0, "")


def test_ctrl_c_cancels_the_call_at_the_node(lone: str) -> None:
    def running() -> int:
        count: int = run("statistics", lone, "--json").document["calls_running"]
        return count

    assert running() == 0
    with command("call", lone, "probe/sleep", "3600", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr is not None
        until(lambda: running() == 1)
        process.send_signal(signal.SIGINT)
        assert (process.wait(DEADLINE_S), process.stderr.read()) == (130, "")
    until(lambda: running() == 0)


def test_following_ends_when_nobody_reads(cluster: Cluster) -> None:
    with command("events", cluster.address, "-f", stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()  # as head does; no event comes any more
        assert (process.wait(DEADLINE_S), process.stderr.read()) == (0, "")


def test_a_closed_standard_output_or_error_is_no_failure(cluster: Cluster) -> None:
    for closed, status in (("1", 0), ("2", 0)):
        shell = f'exec "{sys.executable}" -m trionet members {cluster.address} {closed}>&-'
        done = subprocess.run(["sh", "-c", shell], cwd=ROOT, env=clean_environment(), capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (status, b"")
    dead = f'exec "{sys.executable}" -m trionet members 127.0.0.1:{free_port()} 2>&-'
    done = subprocess.run(["sh", "-c", dead], cwd=ROOT, env=clean_environment(), capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")


def test_on_a_terminal_a_table_has_colours_and_fits(cluster: Cluster) -> None:
    ours, theirs = pty.openpty()
    with command("members", cluster.address, stdout=theirs, environment={"COLUMNS": "50", "TERM": "xterm"}) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                data = os.read(ours, 65_536)
            except OSError:  # the other end is closed
                break
            if not data:
                break
            shown += data
        assert process.wait(DEADLINE_S) == 0
    os.close(ours)
    lines = ESCAPES.sub("", shown.decode()).splitlines()
    assert b"\x1b[" in shown
    assert max(map(len, lines)) <= 50


# ---- acting


def test_tags_are_shown_set_and_removed(cluster: Cluster) -> None:
    assert run("tags", cluster.address, "zone=a", "note=b=c", "--json").document == {
        "role": "first",
        "zone": "a",
        "note": "b=c",
    }
    assert run("tags", cluster.address, "--remove", "zone", "--remove", "note", "--json").document == {"role": "first"}
    assert "has no tag 'zone'" in one_line(run("tags", cluster.address, "--remove", "zone"), 1)


def test_a_node_is_spawned_killed_forgotten_and_another_leaves_joins_and_stops(cluster: Cluster) -> None:
    spawned = [run("spawn", cluster.address, "profile=local", "--json").document for _ in range(2)]
    lost, kept = (one["address"] for one in spawned)

    def states() -> dict[str, str]:
        members = run("members", cluster.address, "--json").document
        return {member["address"]: member["status"] for member in members}

    until(lambda: states().get(kept) == states().get(lost) == "alive")
    assert "only members that are gone can be forgotten" in one_line(run("forget", cluster.address, lost), 1)
    pid = run("status", lost, "--json").document["pid"]
    os.kill(pid, signal.SIGKILL)
    until(lambda: states()[lost] == "failed")
    forgotten = run("forget", cluster.address, spawned[0]["sid"], "--json")
    assert (forgotten.status, set(forgotten.document["values"].values())) == (0, {True})

    def is_forgotten() -> bool:
        again = run("forget", cluster.address, lost)
        return again.status == 1 and "knows no member" in one_line(again, 1) and lost not in states()

    until(is_forgotten)  # statements about it that were on their way bring it back, of the last of them none is left

    assert run("leave", kept, "--json").document == {"left": kept}
    assert states()[kept] == "left"
    assert run("join", kept, cluster.address, "--json").document["joined"] == kept
    until(lambda: states()[kept] == "alive")
    assert run("stop", kept, "--json").document == {"stopped": kept}
    until(lambda: states()[kept] == "left")


def test_a_failed_member_is_an_error_of_its_own(lone: str) -> None:
    dead = f"127.0.0.1:{free_port()}"
    assert run("call", lone, "groups/put", "pair", json.dumps([lone, dead])).status == 0
    done = run("call", lone, "pair/probe/pid", "--json")
    assert (done.status, len(done.document["values"])) == (1, 1)
    assert [error["type"] for error in done.document["errors"].values()] == ["NodeUnreachable"]


def test_reload_of_a_node_without_files_says_so(lone: str) -> None:
    assert "has no files to read again" in one_line(run("reload", lone), 1)


def test_stopping_all_stops_all() -> None:
    with ExitStack() as stack:
        process = launch(stack, NodeConfig(join=[], profile="local"), {})
        address = str(wait_ready(process).address)
        child = run("spawn", address, "profile=local", "launcher=in_process", "--json").document
        done = run("stop", address, "--all", "--json")
        assert (done.status, child["sid"] in done.document["values"], len(done.document["values"])) == (0, True, 2)
        assert process.wait(DEADLINE_S) == 0


# ---- the start


def test_a_call_imports_only_what_a_client_needs(cluster: Cluster) -> None:
    """The time of the start depends on that, and is not tested itself."""
    code = (
        f"import sys\n"
        f"from trionet.cli.main import main\n"
        f"try:\n"
        f"    main(['call', '{cluster.address}', 'status/get', 'sid'])\n"
        f"finally:\n"
        f"    print(*sys.modules)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=clean_environment(), capture_output=True, text=True, check=True
    )
    modules = done.stdout.splitlines()[-1].split()
    ours = ("node", "runtime", "group", "services", "templates", "launchers", "protocols.swim", "protocols.gossip")
    theirs = ("httpx", "quart", "hypercorn", "rich", "shtab", "cryptography", "asyncio", "difflib", "multiprocessing")
    heavy = {*(f"trionet.{name}" for name in ours), *theirs}
    assert [name for name in modules if name in heavy or name.startswith("trionet.services")] == []
    assert sum(name.startswith("trionet") for name in modules) < 150
