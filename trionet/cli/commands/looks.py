"""``trionet members|groups|services|status|statistics|config``: what a node shows at once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trionet.cli.frame import Command
from trionet.cli.looking import add_all, look
from trionet.cli.output import Table, duration_of, text_of

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable

    from trionet.cli.client import Client

__all__ = ["COMMANDS"]

_ADDRESS: Final = "127.0.0.1:8080"


def _members(members: list[dict[str, Any]]) -> Table:
    rows = [
        [
            member["sid"],
            member["address"],
            member["status"],
            duration_of(member["since_s"]),
            member["incarnation"],
            _pairs(member["tags"]),
        ]
        for member in members
    ]
    return Table(["sid", "address", "status", "since", "incarnation", "tags"], rows)


def _groups(groups: list[dict[str, Any]]) -> Table:
    rows = [
        [
            group["gid"],
            len(group["members"]),
            group["where"] if not isinstance(group["where"], dict) else _pairs(group["where"]),
            group["subset"],
            " ".join(group["members"].values()),
        ]
        for group in groups
    ]
    return Table(["gid", "size", "where", "subset", "members"], rows)


def _services(methods: list[dict[str, Any]]) -> Table:
    rows = [
        [
            f"{method['gid']}/{method['service']}/{method['method']}",
            method["origin"],
            " ".join(name for name in ("read", "stream") if method[f"is_{name}"]),
            method["signature"],
        ]
        for method in methods
    ]
    return Table(["method", "origin", "kind", "signature"], rows)


def _status(status: dict[str, Any]) -> Table:
    return Table(["what", "value"], [[name, _figure(name, value)] for name, value in status.items()])


def _figure(name: str, value: Any) -> Any:
    if name.endswith("_s") and isinstance(value, int | float):
        return duration_of(value)
    return f"{value:,}" if isinstance(value, int) and name not in ("pid", "port") else value


def _config(settings: list[dict[str, Any]]) -> Table:
    rows = []
    for setting in settings:
        value, default = setting["value"], setting["default"]
        rows.append([setting["setting"], text_of(value) or "-", "" if value == default else text_of(default) or "-"])
    return Table(["setting", "value", "default, if different"], rows)


def _pairs(texts: dict[str, str]) -> str:
    return " ".join(f"{name}={text}" for name, text in texts.items())


def _add_services_arguments(parser: argparse.ArgumentParser) -> None:
    add_all(parser)
    parser.add_argument("--built-in", action="store_true", help="show trionet's own services, too")


async def _run_services(client: Client, options: argparse.Namespace) -> bool:
    def users_own(methods: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [method for method in methods if options.built_in or method["origin"] != "built in"]

    return await look(client, options, "services", render=_services, pick=users_own)


def _looking(method: str, render: Callable[[Any], Table]) -> Callable[[Client, argparse.Namespace], Any]:
    async def run(client: Client, options: argparse.Namespace) -> bool:
        return await look(client, options, method, render=render)

    return run


_DESCRIPTIONS: Final[dict[str, tuple[str, Callable[[Any], Table]]]] = {
    "members": (
        "Show the members of a node's cluster, as the node sees them.\n\n"
        "Failed members stay in the list for three days, left ones for an hour; trionet forget removes one at once.",
        _members,
    ),
    "groups": ("Show the groups of a node: members, rule and subset of each.", _groups),
    "status": ("Show what identifies a node, and how it is.", _status),
    "statistics": ("Show the figures that a node counts, from its start on.", _status),
    "config": ("Show the settings of a node, and the defaults of those that differ. It never shows a key.", _config),
}

COMMANDS: Final = {
    name: Command(
        name=name,
        description=description,
        examples=[_ADDRESS, f"{_ADDRESS} --all", f"{_ADDRESS} --json"],
        run=_looking(name, render),
        add_arguments=add_all,
    )
    for name, (description, render) in _DESCRIPTIONS.items()
} | {
    "services": Command(
        name="services",
        description="Show the methods of a node that others can call: those of your services and templates.",
        examples=[_ADDRESS, f"{_ADDRESS} --built-in", f"{_ADDRESS} --json"],
        run=_run_services,
        add_arguments=_add_services_arguments,
    )
}
