"""``trionet keys status|install|use|retire|rollout|reload``: operates the keys of a running cluster.

The command is a client of one member, over a link that is sealed with the cluster's key. It joins nothing, and changes
no file but with ``install --by-file``.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any, Final

from trionet.errors import ConfigError
from trionet.message import Remote
from trionet.streams import check_written

from .clients import add_client, ask, client_keys, settings_of

if TYPE_CHECKING:
    import argparse

    from trionet.security.keys import ClusterKey
    from trionet.services.key_status import KeyInfo, KeysStatus, MemberKeys

__all__ = ["COMMANDS", "add_commands", "call_keys"]

_ALL_SEALED: Final = "accept=sealed send=sealed"


def add_commands(commands: Any) -> None:
    """Add the commands to a parser's."""
    for name, purpose in _PURPOSES.items():
        command = commands.add_parser(name, help=purpose)
        if name == "install":
            command.add_argument("address", metavar="ADDR", nargs="?", help="the address of a member, ip:port")
            command.add_argument("--new", metavar="FILE", required=True, help="the file of the new key")
            command.add_argument(
                "--by-file", action="store_true", help="only into the file of --key-file, on this machine"
            )
        else:
            command.add_argument("address", metavar="ADDR", help="the address of a member, ip:port")
        if name in ("use", "retire"):
            command.add_argument("key_id", metavar="KEY_ID", help="the id of the key, 8 hex digits")
        if name == "rollout":
            command.add_argument("step", metavar="STEP", help="send=sealed, then accept=sealed")
        if name in ("use", "retire", "rollout"):
            command.add_argument(
                "--without",
                metavar="SID",
                action="append",
                default=[],
                help="a member that may be left behind, by SID or address; or 'absent' for all absent ones",
            )
        add_client(command)


_PURPOSES: Final = {
    "status": "show the keys of a running cluster, and who holds them",
    "install": "give a new key to all members; nothing is sealed with it yet",
    "use": "seal with a key at all members",
    "retire": "seal with a key no more, and forget it",
    "rollout": "take a step from a plain cluster to a sealed one at all members",
    "reload": "have a member read its key file again",
}


def _status(options: argparse.Namespace) -> int:
    status: KeysStatus = call_keys(options, "status")
    for key in status.keys:
        _print(_key_line(key))
    for member in status.members:
        _print(_member_line(member))
    if not status.is_protected:
        _print(f"unprotected: {status.node} accepts plain peers ({status.rollout}); next step: {status.waits_for}")
    if status.fault:
        _print(f"{status.node} can't keep its keys: {status.fault}")
    return 0


def _install(options: argparse.Namespace) -> int:
    from trionet.security.key_file import read_key_file

    file = read_key_file(options.new)
    if len(file.entries) != 1:
        raise ConfigError(f"{options.new} holds {len(file.entries)} keys: make a new one with: trionet keys new FILE")
    key = file.sealing_key
    if options.by_file:
        _install_by_file(options, key)
    elif options.address is None:
        raise ConfigError("give the address of a member, or --by-file")
    else:
        from trionet.security.key_material import KeyMaterial
        from trionet.security.key_news import KeyNews, encode_news
        from trionet.security.key_statements import KeyStatement

        news = KeyNews(materials=(KeyMaterial(KeyStatement(key.id), key.reveal()),))
        call_keys(options, "give", encode_news(news))
    _print(key.name)
    return 0


def _install_by_file(options: argparse.Namespace, key: ClusterKey) -> None:
    """Add a key, which never travels, to a node's key file."""
    from trionet.security.held_keys import HeldKeys
    from trionet.security.key_entries import KeyFile
    from trionet.security.key_file import update_key_file

    def add(content: KeyFile) -> KeyFile:
        held = HeldKeys(content.entries)
        held.install(key, by_file=True)
        return KeyFile(held.entries(), content.members, content.rollout)

    if options.address is not None:
        raise ConfigError("--by-file changes a file on this machine: leave out ADDR")
    path = settings_of(options).key_file
    if path is None:
        raise ConfigError("give the key file of a node on this machine: --key-file FILE")
    update_key_file(path, add)


def _use(options: argparse.Namespace) -> int:
    call_keys(options, "use", options.key_id, options.without)
    return 0


def _retire(options: argparse.Namespace) -> int:
    call_keys(options, "retire", options.key_id, options.without)
    return 0


def _rollout(options: argparse.Namespace) -> int:
    call_keys(options, "rollout", options.step, options.without)
    return 0


def _reload(options: argparse.Namespace) -> int:
    call_keys(options, "reload")
    return 0


COMMANDS: Final = {
    "status": _status,
    "install": _install,
    "use": _use,
    "retire": _retire,
    "rollout": _rollout,
    "reload": _reload,
}
"""The commands by name."""


def _key_line(key: KeyInfo) -> str:
    parts = [key.state]
    if key.seals:
        parts.append("seals")
    if key.by_file:
        parts.append("by file")
    if not key.is_held:
        parts.append("forgotten" if key.state == "retired" else "not here")
    if key.waits_for:
        step = {"installed": "to be used", "used": "to be retired", "retired": "to be forgotten"}[key.state]
        parts.append(f"{step}: {key.waits_for}")
    return f"key {key.id}: {', '.join(parts)}"


def _member_line(member: MemberKeys) -> str:
    if not member.seals_with:
        return f"member {member.name}: {'has not answered' if member.is_present else 'absent'}"
    held = ", ".join(f"{key_id} {how}" for key_id, how in sorted(member.holds.items()))
    rollout = "" if member.rollout == _ALL_SEALED else f"; {member.rollout}"
    absent = "" if member.is_present else "absent; "
    return f"member {member.name}: {absent}seals with {member.seals_with}; holds {held}{rollout}"


def call_keys(options: argparse.Namespace, method: str, *args: Any) -> Any:
    """Return the answer of a member's service ``keys``."""
    settings = settings_of(options)
    keys = client_keys(settings)
    if keys is None:
        raise ConfigError("give the key file of the cluster: --key-file FILE")
    return ask(options.address, settings, keys, Remote(service="keys", method=method), *args)


def _print(line: str) -> None:
    print(line)
    check_written(sys.stdout)
