"""``trionet keys status|install|use|retire|rollout|reload``: operates the keys of a running cluster.

The command is a client of one member, over a link that is sealed with the cluster's key. It joins nothing, and changes
no file but with ``install --by-file``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from trionet.errors import ConfigError

from .clients import settings_of
from .frame import Command

if TYPE_CHECKING:
    import argparse

    from trionet.security.keys import ClusterKey

    from .client import Client

__all__ = ["COMMANDS"]

_ALL_SEALED: Final = "accept=sealed send=sealed"
_ADDRESS: Final = "10.0.0.1:8080"
_KEYED: Final = "--key-file cluster.key"
_LONG_S: Final = 120.0


async def _called(client: Client, options: argparse.Namespace, method: str, *args: Any) -> Any:
    """Return the answer of a member's service ``keys``."""
    if options.access.keys is None and options.access.token is None:
        raise ConfigError("give the key file of the cluster: --key-file FILE")
    return await client.call("keys", method, *args)


async def _status(client: Client, options: argparse.Namespace) -> bool:
    status = await _called(client, options, "status")
    options.output.show(status, _shown_status)
    return True


def _shown_status(status: dict[str, Any]) -> str:
    lines = [_key_line(key) for key in status["keys"]]
    lines += [_member_line(member) for member in status["members"]]
    node = status["node"]
    if not status["is_protected"]:
        waits_for = status["waits_for"]
        lines.append(f"unprotected: {node} accepts plain peers ({status['rollout']}); next step: {waits_for}")
    if status["fault"]:
        lines.append(f"{node} can't keep its keys: {status['fault']}")
    return "\n".join(lines)


def _key_line(key: dict[str, Any]) -> str:
    parts = [key["state"]]
    if key["seals"]:
        parts.append("seals")
    if key["by_file"]:
        parts.append("by file")
    if not key["is_held"]:
        parts.append("forgotten" if key["state"] == "retired" else "not here")
    if key["waits_for"]:
        step = {"installed": "to be used", "used": "to be retired", "retired": "to be forgotten"}[key["state"]]
        parts.append(f"{step}: {key['waits_for']}")
    return f"key {key['id']}: {', '.join(parts)}"


def _member_line(member: dict[str, Any]) -> str:
    name = member["name"]
    if not member["seals_with"]:
        return f"member {name}: {'has not answered' if member['is_present'] else 'absent'}"
    held = ", ".join(f"{key_id} {how}" for key_id, how in sorted(member["holds"].items()))
    rollout = "" if member["rollout"] == _ALL_SEALED else f"; {member['rollout']}"
    absent = "" if member["is_present"] else "absent; "
    return f"member {name}: {absent}seals with {member['seals_with']}; holds {held}{rollout}"


# ---- install


def _add_install_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--new", metavar="FILE", required=True, help="the file of the new key")
    parser.add_argument("--by-file", action="store_true", help="only into the file of --key-file, on this machine")


def _new_key(options: argparse.Namespace) -> ClusterKey:
    from trionet.security.key_file import read_key_file

    file = read_key_file(options.new)
    if len(file.entries) != 1:
        raise ConfigError(f"{options.new} holds {len(file.entries)} keys: make a new one with: trionet keys new FILE")
    return file.sealing_key


async def _install(client: Client, options: argparse.Namespace) -> bool:
    from trionet.security.key_material import KeyMaterial
    from trionet.security.key_news import KeyNews, encode_news
    from trionet.security.key_statements import KeyStatement

    key = _new_key(options)
    news = KeyNews(materials=(KeyMaterial(KeyStatement(key.id), key.reveal()),))
    await _called(client, options, "give", encode_news(news))
    options.output.show({"key": key.name}, lambda _: key.name)
    return True


def _install_by_file(options: argparse.Namespace) -> bool:
    """Add a key, which never travels, to a node's key file."""
    if not options.by_file:
        return False
    from trionet.security.held_keys import HeldKeys
    from trionet.security.key_entries import KeyFile
    from trionet.security.key_file import update_key_file

    key = _new_key(options)

    def add(content: KeyFile) -> KeyFile:
        held = HeldKeys(content.entries)
        held.install(key, by_file=True)
        return KeyFile(held.entries(), content.members, content.rollout)

    if options.words:
        raise ConfigError("--by-file changes a file on this machine: leave out ADDR")
    path = settings_of(options).key_file
    if path is None:
        raise ConfigError("give the key file of a node on this machine: --key-file FILE")
    update_key_file(path, add)
    options.output.show({"key": key.name}, lambda _: key.name)
    return True


# ---- steps


def _add_without(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--without",
        metavar="SID",
        action="append",
        default=[],
        help="a member that may be left behind, by SID or address; or 'absent' for all absent ones",
    )


def _taking(method: str) -> Any:
    async def run(client: Client, options: argparse.Namespace) -> bool:
        args = (options.words[0], options.without) if options.words else ()
        await _called(client, options, method, *args)
        options.output.show({"done": " ".join([method, *options.words])}, lambda _: None)
        return True

    return run


def _step(method: str, description: str, words: str, example: str) -> Command:
    return Command(
        name=f"keys {method}",
        description=description,
        examples=[f"{_ADDRESS} {example} {_KEYED}"],
        run=_taking(method),
        words=words,
        least=1,
        most=1,
        add_arguments=_add_without,
        timeout_s=_LONG_S,
    )


COMMANDS: Final = {
    "status": Command(
        name="keys status",
        description="Show the keys of a running cluster, and who holds them.",
        examples=[f"{_ADDRESS} {_KEYED}", f"{_ADDRESS} {_KEYED} --json"],
        run=_status,
        timeout_s=_LONG_S,
    ),
    "install": Command(
        name="keys install",
        description="Give a new key to all members; nothing is sealed with it yet.",
        examples=[f"{_ADDRESS} {_KEYED} --new new.key", f"--by-file {_KEYED} --new new.key"],
        run=_install,
        add_arguments=_add_install_arguments,
        timeout_s=_LONG_S,
        run_offline=_install_by_file,
    ),
    "use": _step("use", "Seal with a key at all members.", "KEY_ID", "1a2b3c4d"),
    "retire": _step("retire", "Seal with a key no more, at all members, and forget it.", "KEY_ID", "1a2b3c4d"),
    "rollout": _step(
        "rollout",
        "Take a step from a plain cluster to a sealed one at all members: send=sealed, then accept=sealed.",
        "STEP",
        "send=sealed",
    ),
    "reload": Command(
        name="keys reload",
        description="Have a member read its key file again.",
        examples=[f"{_ADDRESS} {_KEYED}"],
        run=_taking("reload"),
        timeout_s=_LONG_S,
    ),
}
"""The commands by name."""
