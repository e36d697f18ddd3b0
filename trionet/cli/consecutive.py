"""The ports of nodes that differ in their ports alone: they follow each other, and so do the advertised ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from trionet.errors import ConfigError

if TYPE_CHECKING:
    from trionet.config import NodeConfig

__all__ = ["check_ports", "shifted"]

_LAST_PORT: Final = 65_535


def shifted(config: NodeConfig, by: int) -> NodeConfig:
    """Return a configuration with ports that are `by` higher; a free port stays free."""
    if not config.port:
        return config
    advertised = config.advertise_port
    return msgspec.structs.replace(
        config, port=config.port + by, advertise_port=None if advertised is None else advertised + by
    )


def check_ports(config: NodeConfig, count: int, by: int = 0) -> None:
    """Refuse `count` nodes whose ports follow each other, the first one's `by` higher than those of `config`.

    Raises:
        ConfigError: there are not so many ports.
    """
    for setting, first in (("port", config.port), ("advertise_port", config.advertise_port)):
        if first and config.port and first + by + count - 1 > _LAST_PORT:
            raise ConfigError(f"there are no {count} ports from {first + by} on: set a lower {setting}")
