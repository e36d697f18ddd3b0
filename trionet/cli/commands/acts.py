"""``trionet spawn|stop|leave|join|forget|tags``: what changes a node, or its cluster."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import trio

from trionet.cli.arguments import settings_in
from trionet.cli.frame import Command
from trionet.cli.looking import add_all, show_replies
from trionet.cli.output import Table
from trionet.config import NodeConfig, parse_setting
from trionet.errors import ConfigError, KeyDoesNotExist, PreconditionFailed
from trionet.identity import NodeAddress
from trionet.replies import Replies

if TYPE_CHECKING:
    import argparse

    from trionet.cli.client import Client

__all__ = ["COMMANDS"]

_ADDRESS: Final = "127.0.0.1:8080"
_LONG_S: Final = 120.0
_PAIR: Final = re.compile(r"(?P<name>\w[\w.-]*)=(?P<value>.*)", re.DOTALL)
_PRESENT: Final = ("alive", "suspect")
_NEWS_S: Final = 5.0
"""The time that the news of a failure has to reach all members."""
_PAUSE_S: Final = 0.2


def _pairs(words: list[str], what: str) -> dict[str, str]:
    found = {word: _PAIR.fullmatch(word) for word in words}
    for word, pair in found.items():
        if pair is None:
            raise ConfigError(f"{what} is given as name=value, not {word!r:.80}")
    return {pair["name"]: pair["value"] for pair in found.values() if pair is not None}


# ---- spawn


def _add_spawn_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--config", metavar="FILE|JSON", help="the configuration of the new node, as for trionet-node")
    add("--launcher", metavar="NAME", help="forkserver, subprocess, in_process or ssh:HOST")
    add("--restart", metavar="WHEN", help="whether it is restarted: never, on_failure or always")
    add("--detach", action="store_true", help="it outlives the node that spawns it")
    add("--gid", metavar="GID", help="put it into this group, on every member of the group")


async def _spawn(client: Client, options: argparse.Namespace) -> bool:
    settings = settings_in(options.config, "--config") if options.config else {}
    known = NodeConfig.__struct_fields__
    for name, text in _pairs(options.words, "a setting").items():
        settings[name] = parse_setting(name, text, source=name) if name in known else text  # else refused below
    given = {"launcher": options.launcher, "restart": options.restart, "detach": options.detach or None}
    settings |= {name: value for name, value in given.items() if value is not None}
    NodeConfig.from_mapping(settings, source="command line")
    gid = {} if options.gid is None else {"gid": options.gid}
    address: NodeAddress = await client.call("status", "spawn", settings, **gid)
    options.output.show({"address": str(address), "sid": address.sid}, lambda _: f"{address.sid}  {address}")
    return True


# ---- stop, leave, join


def _add_stop_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--all", action="store_true", help="stop every member that the node knows, and then the node")


async def _stop(client: Client, options: argparse.Namespace) -> bool:
    if options.all:
        replies = await client.call("status", "stop", gid="all")
        return show_replies(options, replies, lambda value: Table(["stopped"], [[value]]))
    address = await client.call("status", "stop")
    options.output.show({"stopped": str(address)}, lambda _: f"stopped {address}")
    return True


async def _leave(client: Client, options: argparse.Namespace) -> bool:
    await client.call("membership", "leave")
    options.output.show({"left": str(client.node)}, lambda _: f"{client.node} has left its cluster, and goes on alone")
    return True


async def _join(client: Client, options: argparse.Namespace) -> bool:
    seeds = [str(NodeAddress.of(word)) for word in options.words]
    await client.call("membership", "join", seeds)
    members = await client.call("membership", "members")
    options.output.show(
        {"joined": str(client.node), "members": len(members)},
        lambda _: f"{client.node} has joined; it knows {len(members)} members",
    )
    return True


# ---- forget


async def _forget(client: Client, options: argparse.Namespace) -> bool:
    member = await _absent_member(client, options.words[0])
    known = dict[str, bool]()
    until = trio.current_time() + _NEWS_S
    while True:  # all of them each time: those who have forgotten it may have been told of it again
        replies = await client.call_all("membership", "forget", member["address"])
        for sid, was_known in replies.values.items():
            known[sid] = known.get(sid, False) or was_known
        late = [error for error in replies.errors.values() if isinstance(error, PreconditionFailed)]
        if not late or trio.current_time() > until:
            break
        await trio.sleep(_PAUSE_S)  # they have not heard yet that it is gone
    merged = Replies({sid: known[sid] for sid in replies.values}, replies.errors)
    return show_replies(options, merged, lambda value: Table(["result"], [["forgotten" if value else "unknown"]]))


async def _absent_member(client: Client, name: str) -> dict[str, Any]:
    """Return the member with a SID or an address; raise an error if it is present or unknown."""
    members: list[dict[str, Any]] = await client.call("inspection", "members")
    member = next((one for one in members if name in (one["sid"], one["address"])), None)
    if member is None:
        raise KeyDoesNotExist(f"{client.node} knows no member {name!r:.80}; see: trionet members {client.node}")
    if member["status"] in _PRESENT:
        raise PreconditionFailed(
            f"{member['address']} is {member['status']}, and only members that are gone can be forgotten: stop it, or "
            f"wait until it has failed"
        )
    return member


# ---- tags


def _add_tags_arguments(parser: argparse.ArgumentParser) -> None:
    add_all(parser)
    parser.add_argument("--remove", metavar="NAME", action="append", default=[], help="remove a tag; repeatable")


async def _tags(client: Client, options: argparse.Namespace) -> bool:
    def render(tags: dict[str, str]) -> Table:
        return Table(["tag", "value"], list(tags.items()))

    changes = _pairs(options.words, "a tag")
    if options.all:
        if changes or options.remove:
            raise ConfigError("a node's tags are its own: set them at one node, without --all")
        return show_replies(options, await client.call_all("inspection", "tags"), render)
    tags: dict[str, str] = await client.call("inspection", "tags")
    if changes or options.remove:
        unknown = [name for name in options.remove if name not in tags]
        if unknown:
            raise KeyDoesNotExist(f"{client.node} has no tag {unknown[0]!r:.80}")
        tags = {name: text for name, text in (tags | changes).items() if name not in options.remove}
        await client.call("membership", "set_tags", tags)
    options.output.show(tags, render)
    return True


COMMANDS: Final = {
    command.name: command
    for command in (
        Command(
            name="spawn",
            description="Have a node start another one, which ends with it; print the address once it has booted.",
            examples=[
                _ADDRESS,
                f'{_ADDRESS} port=8090 tags=\'{{"role": "worker"}}\'',
                f"{_ADDRESS} --config node.toml --restart on_failure --gid workers",
            ],
            run=_spawn,
            words="[SETTING=VALUE ...]",
            most=None,
            add_arguments=_add_spawn_arguments,
            timeout_s=_LONG_S,
        ),
        Command(
            name="stop",
            description="Stop a node, after the calls in progress, or with --all every member.",
            examples=[_ADDRESS, f"{_ADDRESS} --all"],
            run=_stop,
            add_arguments=_add_stop_arguments,
        ),
        Command(
            name="leave",
            description="Have a node leave its cluster, which is no failure. It goes on alone, and may join again.",
            examples=[_ADDRESS],
            run=_leave,
        ),
        Command(
            name="join",
            description="Have a node join the cluster of any of the seeds. Two clusters are merged.",
            examples=[f"{_ADDRESS} 127.0.0.1:8081", f"{_ADDRESS} 10.0.0.1:8080 10.0.0.2:8080 --timeout 5"],
            run=_join,
            words="SEED ...",
            least=1,
            most=None,
        ),
        Command(
            name="forget",
            description=(
                "Have all members forget one that has failed or left, and will not come back.\n\nNobody waits for it "
                "or contacts it any more. A member that is present is refused."
            ),
            examples=[f"{_ADDRESS} 2afb619fa4", f"{_ADDRESS} 127.0.0.1:8084"],
            run=_forget,
            words="SID|ADDR",
            least=1,
            most=1,
        ),
        Command(
            name="tags",
            description="Show the tags of a node, after setting or removing some.",
            examples=[_ADDRESS, f"{_ADDRESS} --all", f"{_ADDRESS} role=worker zone=a", f"{_ADDRESS} --remove zone"],
            run=_tags,
            words="[NAME=TEXT ...]",
            most=None,
            add_arguments=_add_tags_arguments,
        ),
    )
}
