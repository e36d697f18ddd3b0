"""Checks of the network between the members: addresses, connections, datagrams."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from trionet.errors import MalformedRequest
from trionet.identity import NodeAddress, is_loopback

from .findings import Finding, listed

if TYPE_CHECKING:
    from .facts import Survey

__all__ = ["blocked_ways", "check_connections", "check_datagrams", "check_loopback"]

_MANY: Final = 2
"""Of so many lost ways at one node, its own firewall is to blame rather than one between two."""

_OPEN = "let UDP pass to port {port} of {node}: look at its firewall (nft list ruleset, iptables -L), at the cloud's \
security groups, and at those on the way"
_FALLBACK = "until then its pings go by connections, which is slower, and takes a busy network for a failure sooner"


def _unconnected(survey: Survey) -> set[tuple[str, str]]:
    """Return the pairs of nodes of which the first can't connect to the second."""
    return {
        (name, fault.to)
        for name, member in survey.members.items()
        for fault in member.faults
        if fault.kind == "connect"
    }


def check_connections(survey: Survey) -> list[Finding]:
    """Addresses to which others can't connect."""
    by_target: dict[str, set[str]] = {}
    for source, target in _unconnected(survey):
        by_target.setdefault(target, set()).add(source)
    for own in survey.facts.values():
        for target, by in own.unreachable:
            if by in survey.members or target in survey.members:
                by_target.setdefault(target, set()).add(by)
    silent = {name for name, member in survey.members.items() if member.error}
    found = []
    for target, sources in sorted(by_target.items()):
        if target in silent:  # its process is to blame
            continue
        what = f"{listed(sources)} can't connect to {target}, the address that this node advertises"
        advice = (
            f"set advertise_ip (--advertise-ip) of that node to an address that all members reach, and let TCP and UDP "
            f"pass to port {_port(target)} there"
        )
        found.append(Finding("addresses", "error", (target,), what, advice))
    return found


def check_loopback(survey: Survey) -> list[Finding]:
    """Loopback addresses among others, and one that was reached by another address."""
    found = []
    for name, own in sorted(survey.facts.items()):
        for other in own.barred:
            local, remote = (other, name) if _is_loopback(other) else (name, other)
            what = (
                f"{name} refuses {other} as a member: {local} is a loopback address, which other machines can't reach"
            )
            advice = (
                f"set advertise_ip (--advertise-ip) of {local} to an address that all members reach; or, if all of "
                f"them run on one machine, use loopback addresses for all, {remote} included"
            )
            found.append(Finding("loopback", "error", (local,), what, advice))
    if survey.asked_as and not _is_loopback(survey.asked_as) and _is_loopback(survey.entry):
        what = f"the node at {survey.asked_as} advertises {survey.entry}, which other machines can't reach"
        advice = "set advertise_ip (--advertise-ip) of that node to an address that all members reach"
        found.append(Finding("loopback", "warning", (survey.entry,), what, advice))
    return found


def blocked_ways(survey: Survey) -> set[tuple[str, str]]:
    """Return the pairs of nodes of which the first one's datagrams don't reach the second."""
    facts, unconnected = survey.facts, _unconnected(survey)
    found = set()
    for name, member in survey.members.items():
        for fault in member.faults:
            other = facts.get(fault.to)
            pair = (name, fault.to)
            if other is None or not other.datagrams or pair in unconnected or pair[::-1] in unconnected:
                continue
            if fault.kind in ("out", "both"):
                found.add(pair)
            if fault.kind in ("back", "both"):
                found.add(pair[::-1])
    return found


def check_datagrams(survey: Survey) -> list[Finding]:
    """Datagrams that don't arrive, by the direction in which they are lost."""
    left = blocked_ways(survey)
    with_datagrams = [name for name, own in survey.facts.items() if own.datagrams]
    found = []
    for name in sorted(with_datagrams):
        into = {pair for pair in left if pair[1] == name}
        out = {pair for pair in left if pair[0] == name}
        others = len(with_datagrams) - 1
        is_deaf, is_mute = _is_most(into, others), _is_most(out, others)
        if not (is_deaf or is_mute):
            continue
        left -= (into if is_deaf else set()) | (out if is_mute else set())
        which = {
            (True, True): f"no datagrams get to {name}, nor from it, in either direction",
            (True, False): f"datagrams to {name} don't arrive, though those from it do: UDP is blocked one way",
            (False, True): f"datagrams from {name} don't arrive, though those to it do: UDP is blocked one way",
        }[is_deaf, is_mute]
        advice = f"{_OPEN.format(port=_port(name), node=_ip(name))}; {_FALLBACK}"
        if is_mute and not is_deaf:
            advice = (
                f"let UDP pass from {_ip(name)} to the ports of the others: look at its firewall for what it sends, \
and at those on the way; {_FALLBACK}"
            )
        found.append(Finding("datagrams", "warning", (name,), which, advice))
    found += [_between(left, pair) for pair in sorted(left) if pair[::-1] not in left or pair < pair[::-1]]
    return found + _without(survey)


def _is_most(pairs: set[tuple[str, str]], others: int) -> bool:
    """Return whether a node loses datagrams with most others, of which there are at least two."""
    return len(pairs) >= _MANY and 2 * len(pairs) > others


def _between(left: set[tuple[str, str]], pair: tuple[str, str]) -> Finding:
    source, target = pair
    both = pair[::-1] in left
    way = f"between {source} and {target}" if both else f"from {source} to {target}"
    what = f"datagrams {way} don't arrive" + ("" if both else ", though those back do: UDP is blocked one way")
    advice = f"{_OPEN.format(port=_port(target), node=_ip(target))}; {_FALLBACK}"
    return Finding("datagrams", "warning", pair, what, advice)


def _without(survey: Survey) -> list[Finding]:
    """Nodes without datagrams, among others with them."""
    facts = survey.facts
    without = sorted(name for name, own in facts.items() if not own.datagrams and own.version)
    if not without or len(without) == len(facts):
        return []
    what = f"{listed(without)} send no datagrams (datagrams=false), and the others do"
    advice = "if UDP works there now, remove the setting: pings by connections cost more"
    return [Finding("no-datagrams", "note", tuple(without), what, advice)]


def _address(name: str) -> NodeAddress | None:
    try:
        return NodeAddress.of(name)
    except MalformedRequest:
        return None


def _port(name: str) -> str:
    return name.rpartition(":")[2]


def _ip(name: str) -> str:
    node = _address(name)
    return name if node is None else node.ip


def _is_loopback(name: str) -> bool:
    node = _address(name)
    return node is not None and (is_loopback(node.ip) or node.ip.endswith("localhost"))
