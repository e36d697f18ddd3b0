"""The tables of the pages: which benchmark's figures each shows, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from .measured_files import MEASURED, load
from .results import formatted
from .table_forms import Pivot, Table, filled, lines_of_table

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["FIVE", "TABLES", "five", "goals", "table_of"]

_GLOMERS: Final = {
    "command": "[challenge]",
    "valid": "[valid]",
    "messages": "[msgs/op]",
    "latency, median, ms": "[stable median ms]",
    "latency, highest, ms": "[stable max ms]",
    "acknowledged, highest, ms": "[acknowledged max ms]",
    "share ok": "[ok fraction]",
}
_CHALLENGES: Final = {
    "3b broadcast": "3b, `broadcast`",
    "3c broadcast": "3c, partitions",
    "3d fast": "3d, `broadcast --fast`",
    "3d fewest messages": "3d, `broadcast --frugal --up-wait 0 --down-wait 0.32`",
    "3e frugal": "3e, `broadcast --frugal`",
    "3d fast, partitions": "3d with partitions, `--fast`",
    "3e frugal, partitions": "3e with partitions, `--frugal`",
    "3d fast, 50 % loss": "3d with half of all messages lost, `--fast`",
    "3e frugal, 50 % loss": "3e with half of all messages lost, `--frugal`",
    "4 g-counter": "4, `g-counter` with partitions",
    "pn-counter": "`pn-counter` with partitions",
    "g-set": "`g-set` with partitions",
    "5b, 5c kafka": "5b and 5c, `kafka`",
    "kafka, durable": "`kafka --durable`",
    "kafka, durable, kills": "`kafka --durable`, kills, `--nemesis-interval 3`",
    "6b transactions": "6b, partitions, `txn-rw-register`",
    "6c transactions": "6c, partitions, `txn-rw-register`",
    "list append": "`txn-list-append`",
    "lin-kv": "`lin-kv`",
}

TABLES: Final[dict[str, Table | Pivot]] = {
    "calls": Table(
        "calls",
        {
            "": "[peer]",
            "one at a time, calls/s": "[1: calls/s]",
            "x reference": "[1: x ref]",
            "x bare": "[1: x bare]",
            "64 in flight, calls/s": "[64: calls/s]",
            " x reference": "[64: x ref]",
            " x bare": "[64: x bare]",
            "CPU per call at 64, client + server": "[64: cpu us] us",
        },
        {"@brown-ds/distribution": "reference", "bare Trio socket, same frames": "bare Trio echo"},
    ),
    "sealed": Table(
        "sealed",
        {
            "load": "[load]",
            "plain": "[plain] [unit]",
            "sealed": "[sealed] [unit]",
            "sealed to plain": "[ratio]",
            "95 %": "[from] to [to]",
            "goal": "[goal]",
        },
    ),
    "dashboard": Table(
        "dashboard",
        {
            "": "[measure]",
            "median": "[median] [unit]",
            "p99": "[p99] [unit]",
            "95 % of the median": "[from] to [to]",
            "goal": "[goal]",
        },
    ),
    "sealed-fleet": Table(
        "sealed-fleet",
        {
            "measure": "[measure]",
            "plain": "[plain] [unit]",
            "sealed": "[sealed] [unit]",
            "sealed to plain": "[ratio]",
            "95 %": "[from] to [to]",
        },
        {"a node at rest": "processor time of a node at rest"},
    ),
    "fanout": Table(
        "fanout",
        {
            "": "[peer]",
            "the first, with connecting": "[first ms] ms",
            "x reference, or Pool": "[x ref]",
            "then": "[then ms] ms",
            " x reference, or Pool": "[then ms x ref]",
            "p99": "[p99 ms] ms",
        },
        {"@brown-ds/distribution": "reference"},
    ),
    "links": Table(
        "links",
        {
            "calls over": "[calls over]",
            "links open": "[open]",
            "in flight": "[in flight]",
            "calls/s": "[calls/s]",
            "median": "[p50 ms] ms",
            "p99": "[p99 ms] ms",
        },
    ),
    "bulk": Table(
        "bulk",
        {
            "meanwhile": "[meanwhile]",
            "median": "[p50 ms] ms",
            "p99": "[p99 ms] ms",
            "p99, x idle": "[p99 ms x idle]",
            "longest": "[longest ms] ms",
            "MB/s": "[MB/s]",
        },
    ),
    "spawn": Table(
        "spawn",
        {
            "": "[peer]",
            "seconds": "[seconds]",
            "x reference": "[x ref]",
            "processor seconds": "[cpu s]",
            " x reference": "[cpu s x ref]",
            "MiB per node, when ready": "[PSS MiB per node]",
            "  x reference": "[PSS MiB per node x ref]",
            "40 s later": "[at rest]",
            "   x reference": "[at rest x ref]",
        },
        {"@brown-ds/distribution": "reference"},
        "(trionet|@brown).*",
    ),
    "starts": Table(
        "starts",
        {
            "20 processes from cold": "[peer]",
            "seconds": "[seconds]",
            "x pool": "[x pool]",
            "processor seconds": "[cpu s]",
            " x pool": "[cpu s x pool]",
            "MiB of all": "[PSS MiB]",
            "  x pool": "[PSS MiB x pool]",
        },
    ),
    "face": Table(
        "face",
        {
            "64 kept connections": "[server]",
            "requests/s": "[requests/s]",
            "x bare": "[x bare]",
            "processor time of a request": "[cpu us per request] us",
        },
    ),
    "joins": Table(
        "joins",
        {
            "members": "[members]",
            "processor time of a join": "[processor time, ms per join] ms",
            "bytes sent to it": "[bytes sent]",
        },
    ),
    "thousand": Table(
        "thousand",
        {
            "processes": "[nodes]",
            "all have booted": "[up s] s",
            "then all know all": "[all know all s] s",
            "processor time for both, per node": "[processor time for that, ms per node] ms",
            "a rumor to the last": "[rumor to the last ms] ms",
            "a call of all": "[call of all ms] ms",
            "the same, per member": "[ms per member] ms",
            "as a tree": "[as a tree ms] ms",
            "at rest, per node": "[at rest, ms/s per node] ms/s",
            "memory (PSS)": "[PSS MiB per node] MiB",
            "stop of all": "[stop s] s",
        },
    ),
    "tree": Table(
        "tree",
        {
            "members": "[members]",
            "without a tree": "[flat ms] ms",
            "along a tree": "[tree ms] ms",
            "the first one": "[first flat ms] ms",
            "the first one, along a tree": "[first tree ms] ms",
            "messages of the caller": "[messages, flat]",
            "messages, along a tree": "[messages, tree]",
        },
    ),
    "stops": Table(
        "stops",
        {
            "of 100 processes stand still": "[stopped at once]",
            "rounds": "[rounds]",
            "known by all after": "[known by all after, s] s",
            "worst": "[worst] s",
        },
    ),
    "hosts-real": Table(
        "hosts-real",
        {
            "40 nodes on 5 hosts": "[40 nodes]",
            "hosts": "[on 5 hosts] [unit]",
            "simulated": "[simulated] [unit]",
            "hosts / simulated": "[hosts / simulated]",
            "rounds; seeds": "[rounds]; [seeds]",
        },
    ),
    "resting": Table("resting", {"a `trionet-node`": "[state]", "MiB (PSS)": "[PSS MiB]", "goal": "[goal]"}),
    "rumor": Table(
        "cluster",
        {
            "": "[peer]",
            "until the last one has it": "[ms to the last] ms",
            "x reference": "[x ref]",
            "members reached, the least": "[reached, least] of [of]",
        },
        {"@brown-ds/distribution": "reference, until it spreads no more"},
        "trionet|@brown.*",
    ),
    "cluster": Table(
        "cluster", {"100 processes": "[peer]", "measured": "[ms to the last]"}, rows="(?!trionet$|@brown).*"
    ),
    "ends": Table(
        "ends", {"launcher": "[launcher]", "all know after, median": "[ms until all know] ms", "worst": "[worst] ms"}
    ),
    "gossip": Pivot(
        "gossip",
        r"rumor to ([\d,]+), (\d+)% loss: (.*)",
        {
            "members": "{0}",
            "messages lost": "{1} %",
            "seeds": "[until all have it|seeds]",
            "99 % have it after, median; worst": "[until 99 % have it|median]; [until 99 % have it|worst] s",
            "all have it after, median; worst": "[until all have it|median]; [until all have it|worst] s",
            "copies received per member": "[copies received|median]",
        },
    ),
    "membership": Table(
        "gossip",
        {"measure": "[measure]", "seeds": "[seeds]", "median": "[median] [unit]", "worst": "[worst] [unit]"},
        rows="(?!rumor to|each of).*",
    ),
    "rest": Pivot(
        "gossip",
        r"each of ([\d,]+) at rest sends: (.*)",
        {"members": "{0}", "messages/s": "[messages|median]", "bytes/s": "[bytes|median]"},
    ),
    "simulation": Table(
        "simulation",
        {"measure": "[measure]", "runs": "[runs]", "median": "[median]", "worst": "[worst]", "unit": "[unit]"},
    ),
    "glomers": Table("glomers", _GLOMERS, _CHALLENGES),
    "glomers-real": Table("glomers-real", _GLOMERS, _CHALLENGES),
    "map": Table(
        "map",
        {
            "": "[peer]",
            "10,000 of 1 ms": "[10,000 of 1 ms s] s",
            "1,000 of 100 ms": "[1,000 of 100 ms s] s",
            "start of 8 processes": "[start s] s",
            "lines": "[lines]",
        },
    ),
}

_CALL_PEERS: Final = {"Pyro5": "Pyro5", "tractor": "tractor", "gRPC": "grpcio aio"}
_MAP_PEERS: Final = {
    "multiprocessing": "multiprocessing, Pool.imap_unordered",
    "Ray": "Ray, ActorPool.map_unordered",
    "Dask": "Dask, Client.map",
}
_OWN_MAP: Final = "trionet, map, per_member=1"
FIVE: Final = [
    ("calls, one at a time", "calls", "trionet, link", "[1: calls/s]/s", _CALL_PEERS),
    ("calls, 64 in flight", "calls", "trionet, link", "[64: calls/s]/s", _CALL_PEERS),
    ("10,000 items of 1 ms, shared out to 8 processes", "map", _OWN_MAP, "[10,000 of 1 ms s] s", _MAP_PEERS),
    ("1,000 items of 100 ms, the same", "map", _OWN_MAP, "[1,000 of 100 ms s] s", _MAP_PEERS),
    ("start of these 8 processes", "map", _OWN_MAP, "[start s] s", _MAP_PEERS),
]
"""The figures of README.md: what, the file, our row, the form, and the rows of the peers by their names."""


def five() -> str:
    """Return the table of README.md; of peers that a run lacks nothing is shown."""
    lines = [["", "trionet", "its peers"], ["---"] * 3]
    days: set[str] = set()
    for what, name, own, form, peers in FIVE:
        measured = load(name)
        days.add(f"{measured.date} on {measured.machine.get('cores', 'some')} cores")
        shown = {
            peer: filled(form, measured, row) for peer, title in peers.items() for row in measured.rows_named(title)[:1]
        }
        others = "; ".join(f"{peer} {text}" for peer, text in shown.items() if text)
        measured.cell(own, measured.columns[0])  # ours is never missing
        lines.append([what, filled(form, measured, measured.rows_named(own)[0]), others])
    return f"{lines_of_table(lines)}\n\nMeasured on {', '.join(sorted(days))}."


def goals(names: Iterable[str] | None = None) -> str:
    """Return the table of all goals of the kept runs: what was measured, of what, when, on what machine."""
    lines = [["benchmark", "measure", "goal", "measured", "", "run"], ["---"] * 6]
    for name in sorted(path.stem for path in MEASURED.glob("*.json")) if names is None else names:
        measured = load(name)
        cores = f"{measured.machine['cores']} cores" if "cores" in measured.machine else "two cores"
        for goal in measured.goals:
            limit = f"{'at least' if goal.at_least else 'at most'} {formatted(goal.limit)}"
            found = "" if goal.measured is None else f"{formatted(goal.measured)} {goal.unit}"
            verdict = {True: "reached", False: "**missed**", None: "not measured"}[goal.is_reached]
            lines.append([f"`{name}`", goal.what, limit, found, verdict, f"{measured.date}, {cores}"])
    return lines_of_table(lines)


def table_of(name: str) -> str:
    """Return the table of this name in Markdown.

    Raises:
        Broken: its file can't be read.
        ValueError: there is no such table, or its file lacks what it shows.
    """
    if name == "README":
        return five()
    if name == "goals":
        return goals()
    if name not in TABLES:
        raise ValueError(f"there is no table {name!r}; there are {', '.join(TABLES)}")
    return TABLES[name].text()
