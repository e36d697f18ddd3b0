"""How many log lines others can cause."""

from __future__ import annotations

import ast
import logging
import threading
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.source_trees import PACKAGE, parse_package
from trionet.log_limits import LINES_PER_PEER, LINES_PER_REASON, WINDOW_S, LineLimits, about, limited_log, log_often

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from trio.testing import MockClock

# ------------------------------------------------------------------------------------------------------------ the rule


def written(limits: LineLimits, reason: str, peer: str, times: int, now: float) -> list[int | None]:
    return [limits.admit(reason, peer, now) for _ in range(times)]


def test_of_one_peer_six_lines_are_written_in_a_minute() -> None:
    limits = LineLimits()
    assert written(limits, "nonsense", "a", 700, 0.0) == [0] * 6 + [None] * 694
    assert limits.admit("nonsense", "a", 59.9) is None
    assert written(limits, "nonsense", "a", 8, 60.0) == [695, 0, 0, 0, 0, 0, None, None]


def test_of_many_peers_sixty_lines_are_written_in_a_minute() -> None:
    limits = LineLimits()
    admitted = [limits.admit("nonsense", str(peer), 1.0) for peer in range(1_000)]
    assert admitted == [0] * 60 + [None] * 940


def test_one_peer_and_one_reason_hide_no_other() -> None:
    limits = LineLimits()
    written(limits, "nonsense", "a", 700, 0.0)
    assert limits.admit("nonsense", "b", 0.0) == 694  # the count goes along with the next line
    assert limits.admit("another", "a", 0.0) == 0


def test_what_was_left_out_is_told_after_a_minute_without_a_line_and_in_the_end() -> None:
    limits = LineLimits()
    assert limits.due_at() == float("inf")
    written(limits, "nonsense", "a", 10, 5.0)
    assert limits.due_at() == 65.0
    assert limits.counts(64.9) == []
    assert limits.counts(65.0) == [("nonsense", 4)]
    assert limits.counts(1_000.0) == []
    written(limits, "nonsense", "a", 10, 100.0)
    assert limits.counts() == [("nonsense", 4)]


def test_a_line_that_counts_is_one_of_the_sixty() -> None:
    limits = LineLimits()
    for second in range(200):
        for peer in range(5):
            limits.admit("nonsense", f"{second} {peer}", float(second))
    assert limits.due_at() > 199.0
    assert limits.counts(199.0) == []


def test_a_clock_that_begins_again_leaves_nobody_out_for_good() -> None:
    limits = LineLimits()
    written(limits, "nonsense", "a", 700, 1_000_000.0)
    assert limits.admit("nonsense", "a", 5.0) == 694


BURSTS = st.lists(st.tuples(st.sampled_from("rs"), st.integers(1, 20), st.integers(1, 10), st.floats(0.0, 30.0)))
"""A reason, how many peers, how many lines of each, and the seconds before: two thirds of the lists fill a minute."""


@given(BURSTS)
def test_no_minute_has_more_lines_than_that_and_every_line_is_written_or_counted(
    bursts: list[tuple[str, int, int, float]],
) -> None:
    limits, now, came = LineLimits(), 0.0, Counter[Any]()
    out: list[tuple[str, str, float]] = []
    told = Counter[Any]()
    for reason, peers, lines, pause in bursts:
        now += pause
        came[reason] += peers * lines
        for counted, count in limits.counts(now):
            told[counted] += count
            out.append((str(counted), "", now))
        for number in range(peers * lines):
            peer = str(number % peers)
            left_out = limits.admit(reason, peer, now)
            if left_out is not None:
                told[reason] += 1 + left_out
                out.append((reason, peer, now))
    for reason, peer, begin in out:
        minute = [line for line in out if line[0] == reason and begin <= line[2] < begin + WINDOW_S]
        assert len(minute) <= LINES_PER_REASON
        assert sum(line[1] == peer for line in minute) <= LINES_PER_PEER
    for counted, count in limits.counts():
        told[counted] += count
    assert told == came


def test_a_million_peers_cost_no_memory() -> None:
    limits = LineLimits()
    for peer in range(100_000):
        limits.admit("nonsense", str(peer), peer / 1_000)
    (reason,) = limits._reasons.values()  # noqa: SLF001  what it holds is the point
    assert len(reason.lines) <= LINES_PER_REASON
    assert len(limits._reasons) == 1  # noqa: SLF001


# --------------------------------------------------------------------------------------------------------- the loggers

log = limited_log("trionet.tests.limits")


def complain(number: int, peer: str = "a") -> None:
    log.warning("nonsense number %d of %s", number, peer, extra=about(peer))


def complain_often(number: int, peer: str = "a") -> None:
    log_often(log, logging.WARNING, "nonsense number %d of %s", number, peer, peer=peer, kind="")


both_ways = pytest.mark.parametrize("complain", [complain, complain_often])


@both_ways
async def test_lines_are_limited_in_virtual_time_and_the_count_is_told(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, complain: Callable[..., None]
) -> None:
    for number in range(700):
        complain(number)
    assert caplog.messages == [f"nonsense number {number} of a" for number in range(6)]
    caplog.clear()
    await trio.sleep(61)
    assert caplog.messages == ["694 lines were left out, like those that begin 'nonsense number %d of %s…'"]
    caplog.clear()
    for number in range(700):
        complain(number)
    await trio.sleep(60.5)  # less than until the count is told on a line of its own
    caplog.clear()
    complain(1)
    assert caplog.messages == ["nonsense number 1 of a"]


@both_ways
async def test_the_next_line_tells_the_count(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, complain: Callable[..., None]
) -> None:
    for number in range(10):
        complain(number)
    complain(1, "b")
    assert caplog.messages[-1] == "nonsense number 1 of b (4 like this were left out before)"


@both_ways
def test_the_count_is_told_when_the_run_ends(caplog: pytest.LogCaptureFixture, complain: Callable[..., None]) -> None:
    async def main() -> None:
        for number in range(10):
            complain(number)

    for _ in range(2):  # each run counts for itself
        caplog.clear()
        trio.run(main)
        assert len(caplog.messages) == 7
        assert caplog.messages[-1].startswith("4 lines were left out")


def test_lines_are_limited_outside_of_trio(caplog: pytest.LogCaptureFixture) -> None:
    def complain_outside() -> None:
        for number in range(10):
            log.warning("nonsense %d", number)

    thread = threading.Thread(target=complain_outside)
    thread.start()
    thread.join()
    assert len(caplog.messages) == 6


async def test_a_handler_that_raises_while_the_count_is_told_ends_nothing(autojump_clock: MockClock) -> None:
    class Broken(logging.Handler):
        def handle(self, record: logging.LogRecord) -> bool:
            if "left out" in record.msg:
                raise LookupError
            return True

    log.addHandler(handler := Broken())
    try:
        for number in range(10):
            complain(number)
        await trio.sleep(100)
    finally:
        log.removeHandler(handler)


async def test_one_kind_of_a_place_hides_no_other_kind(caplog: pytest.LogCaptureFixture) -> None:
    def close(reason: str) -> None:
        log.warning("closed: %s", reason, extra=about("a", reason))

    for number in range(100):
        for kind in ("it speaks version", "it does not begin", "it said 'hello"):
            close(f"{kind} {number}")
    assert len(caplog.messages) == 18
    for number in range(100):
        close(f"it is mad, like {chr(65 + number)}")  # all kinds of a place together are one reason
    assert len(caplog.messages) == 60


async def test_lines_for_debugging_are_not_limited(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, log.name)
    for number in range(100):
        log.debug("detail %d", number)
    assert len(caplog.messages) == 100


async def test_a_line_is_short_and_one_line_whatever_a_stranger_put_into_it(caplog: pytest.LogCaptureFixture) -> None:
    log.warning("from %s", "a\n2026-01-01 ERROR forged\r\x1b[2J\x9b\u2028" + "x" * 1_000_000)
    (message,) = caplog.messages
    assert len(message) < 2_100
    assert message.isprintable()
    assert message.startswith("from a\\x0a2026-01-01 ERROR forged\\x0d\\x1b[2J\\x9b\\u2028xxx")
    caplog.clear()
    try:
        raise ValueError("y" * 1_000_000)
    except ValueError:
        log.exception("failed")
    assert len(caplog.text) < 20_000
    assert "ValueError: yyy" in caplog.text


# ----------------------------------------------------------------------------------------------------------- the places

UNLIMITED = {
    # What a program logs of itself, once, or on the terminal of who has started it; or what only keeps records.
    "launchers/output.py",
    "cli/clients.py",
    "cli/frame.py",
    "cli/hangups.py",
    "cli/maelstrom.py",
    "cli/node.py",
    "cli/serving.py",
    "cli/supervised.py",
    "cli/up.py",
    "maelstrom/running.py",
    "simulation/raised.py",
    "simulation/outcomes.py",
    "log_limits.py",
    "nurseries.py",
    "reloading.py",
    "services/log_ring.py",
    "warming.py",
}

OF_NOBODY = {
    # Lines that are about no peer: six of each in a minute.
    "events.py: a listener failed at %s",
    "launchers/children.py: process %d has been killed, and doesn't end",
    "launchers/forked.py: a forked node did not stop and is killed",
    "launchers/forked.py: a forked node has been killed, and doesn't end",
    "launchers/forked.py: %s does not answer, and is killed",
    "launchers/forkserver.py: the fork server has ended, and its nodes with it",
    "launchers/in_process.py: a node of this process failed",
    "launchers/built_in.py: there is no fork server (%s): nodes are started as processes of their own",
    "launchers/restart.py: a launcher failed while it was cancelled",
    "launchers/subprocess.py: process %d did not stop and is killed",
    "transports/link/expiry.py: the certificate of this node %s: renew it, and reload",
    "services/keys.py: node %s is unprotected: it has a key, and still accepts plain peers (%s); go on with "
    "'trionet keys rollout'",
    "maelstrom/node.py: the output is closed: %s",
    "maelstrom/stdio.py: a line of more than %s bytes is ignored: %r…",
    "maelstrom/stdio.py: standard input is unreadable: %s",
    "transports/accepting.py: no connection can be accepted: %s; trying again in %g s",
    "transports/listener.py: not listening on %s: %s",
    "tracing/telemetry.py: a span could not be ended: %s",
    "tracing/telemetry.py: a span could not be started: %s",
    "watchdog.py: the event loop is not watched: %s",
    "templates/map_run.py: the items of a map wait: the group %r has no members",
}

LEVELS = {"info", "warning", "error", "exception", "critical", "log"}


def modules(word: str) -> Iterator[tuple[str, ast.Module]]:
    for path, tree in parse_package(word).items():
        yield path.relative_to(PACKAGE).as_posix(), tree


def test_every_module_that_logs_has_a_limited_log() -> None:
    loggers = {
        name
        for name, tree in modules("getLogger")
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "getLogger"
    }
    assert loggers <= UNLIMITED


def of_somebody(extra: ast.expr) -> bool:
    """Whether the fields of a line name whom it is about: the first argument of `about`."""
    match extra:
        case ast.Call(func=ast.Name("about"), args=[ast.Constant(""), *_]):
            return False
    return True


def test_every_line_says_whom_it_is_about() -> None:
    silent, places = set(), 0
    for name, tree in modules("_log."):
        if name in UNLIMITED:
            continue
        for node in ast.walk(tree):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name("_log"), attr=level)) if level in LEVELS:
                    places += 1
                    if not any(keyword.arg == "extra" and of_somebody(keyword.value) for keyword in node.keywords):
                        text = node.args[level == "log"]
                        assert isinstance(text, ast.Constant)
                        assert isinstance(text.value, str)
                        silent.add(f"{name}: {text.value}")
    assert silent == OF_NOBODY
    assert places > 25
