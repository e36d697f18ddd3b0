"""Checks of single settings, whose types say too little."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .errors import ConfigError, MalformedRequest
from .identity import NodeAddress, check_name, lacks_interface
from .import_paths import is_reference
from .key_texts import holds_key_text
from .user_code import pass_endings, shown

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "check_advertised_port",
    "check_on_start",
    "check_references",
    "check_rollout",
    "checked_policy_setting",
    "checked_seed",
    "refuse_key",
]

_MAX_PORT = 65_535


def check_advertised_port(port: int | None) -> None:
    """Raise `ConfigError` unless others can connect to such a port, or it is None."""
    if port is not None and not 1 <= port <= _MAX_PORT:
        raise ConfigError(
            f"advertise_port is the port that others connect to, 1 to {_MAX_PORT}, not {shown(port)}: leave it out "
            f"where that is port"
        )


def checked_seed(seed: object) -> str:
    """Return a seed of any form as a text, which can travel to a spawned node.

    Raises:
        ConfigError: it is no address, or has no port.
    """
    try:
        address = NodeAddress.of(seed)
    except MalformedRequest as exc:
        raise ConfigError(f"join: {exc.text}") from exc
    except BaseException as exc:  # an attribute of the user's
        pass_endings(exc)
        raise ConfigError(f"join: a {type(seed).__name__} is no address: {type(exc).__name__}") from exc
    if not address.port:
        raise ConfigError(f"join: the seed {address} has no port")
    if lacks_interface(address.ip):
        raise ConfigError(
            f"join: {address} is link-local: name the interface to it, as [{address.ip}%eth0]:{address.port}"
        )
    return str(address)


def check_on_start(on_start: Any) -> None:
    """Raise `ConfigError` unless it is a callable, an import path, or None."""
    refuse_key(on_start, "on_start")
    if not (on_start is None or callable(on_start) or is_reference(on_start)):
        kind = type(on_start)
        given = shown(on_start) if issubclass(kind, str) else f"a {kind.__name__}"
        raise ConfigError(f"on_start is a callable or 'package.module:function', not {given}")


def checked_policy_setting(policy: Any) -> Any:
    """Return a policy, with containers copied.

    Raises:
        ConfigError: it is no table, no function, and no import path.
    """
    refuse_key(policy, "policy")
    if issubclass(type(policy), str):  # isinstance would use __class__, which may be the user's code
        if not is_reference(policy):
            raise ConfigError(f"policy is a table, a function or 'package.module:function', not {shown(policy)}")
        return policy
    if policy is None:
        return None
    from .policy import checked_policy  # most nodes have none

    return checked_policy(policy).given


def check_rollout(accept: str, send: str, *, is_certified: bool) -> None:
    """Raise `ConfigError` unless the two are a step of a rollout, and the last one if the node has a certificate."""
    if is_certified and (accept, send) != ("sealed", "sealed"):
        raise ConfigError(
            f"accept={accept} with send={send} are for nodes without a certificate: one with a certificate accepts and "
            f"sends nothing plain. Leave accept and send out"
        )
    if (accept, send) in (("plain", "sealed"), ("sealed", "plain")):
        raise ConfigError(
            f"accept={accept} with send={send} is no step of a rollout: set accept=plain send=plain, "
            f"accept=both send=plain, accept=both send=sealed, or neither"
        )


def check_references(setting: str, references: Mapping[str, str]) -> None:
    """Raise `ConfigError` unless these are import paths by names of services."""
    for name, reference in references.items():
        try:
            check_name(name, "service name")
        except MalformedRequest as exc:
            raise ConfigError(f"{setting}: {exc.text}") from exc
        if not is_reference(reference):
            raise ConfigError(f"{setting}.{name} is 'package.module:Class', not {reference!r:.100}")


def refuse_key(value: object, where: str) -> None:
    """Raise a `ConfigError` that does not quote `value` if it contains a key."""
    if holds_key_text(value):
        raise ConfigError(f"{where} holds a key, and keys come from a file: give the path of the file in key_file")
