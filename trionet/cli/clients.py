"""The options of commands that are clients of a running node, and what they show to it: a key, a certificate, a token.

Invariant: no secret is taken from the command line, or shown.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec

from trionet.config import CERTIFICATE_FILES, NodeConfig
from trionet.errors import ConfigError
from trionet.key_texts import KEY_VARIABLE

from .arguments import add_certificate, settings_from
from .client import Access

if TYPE_CHECKING:
    import argparse

    from trionet.security.node_keys import NodeKeys

__all__ = ["TOKEN_VARIABLE", "access_of", "add_client", "add_token", "client_keys", "settings_of"]

TOKEN_VARIABLE: Final = "TRIONET_TOKEN"  # noqa: S105  its name
_OPTIONS: Final = ("key_file", "cluster", *CERTIFICATE_FILES)
_PRINTABLE: Final = range(0x21, 0x7F)


def add_client(parser: Any) -> None:
    """Add the options of a client to a parser, or to a group of one."""
    parser.add_argument("--key-file", metavar="FILE", help="the key file of the cluster")
    parser.add_argument("--cluster", metavar="NAME", help="the name of the cluster; default: that of its nodes")
    add_certificate(parser)


def add_token(parser: Any) -> None:
    """Add the option of a token."""
    parser.add_argument(
        "--token",
        metavar="FILE",
        help=f"a file with a bearer token, for the HTTP face; default: the token in {TOKEN_VARIABLE}, if there is one",
    )


def settings_of(options: argparse.Namespace) -> NodeConfig:
    """Return the settings of a client, of the environment and the options."""
    given = NodeConfig.from_mapping(settings_from(None))
    settings = {name: getattr(given, name) for name in _OPTIONS}
    settings |= {name: text for name in _OPTIONS if (text := getattr(options, name)) is not None}
    return NodeConfig.from_mapping(settings, source="command line")


def client_keys(settings: NodeConfig) -> NodeKeys | None:
    """Return the keys of a client; None if there are none.

    Raises:
        ConfigError: they can't be used.
    """
    if settings.key_file is None and KEY_VARIABLE not in os.environ:
        return None
    from trionet.security.key_entries import KeyFile
    from trionet.security.key_file import read_keys
    from trionet.security.node_keys import NodeKeys

    file = read_keys(settings.key_file)
    if file is None:
        return None
    file = KeyFile(file.entries, file.members)  # a client sends nothing plainly
    return NodeKeys(file, settings.cluster, giver="")  # whoever runs the command has them again next time


def access_of(options: argparse.Namespace) -> Access:
    """Return what a client shows to nodes: a token if there is one, else the key and the certificate, if any.

    Raises:
        ConfigError: they can't be used.
    """
    token = _token(options.token)
    if token is None:
        settings = settings_of(options)
        return Access(msgspec.structs.replace(settings, key_file=None), client_keys(settings))
    if options.key_file is not None:
        raise ConfigError("give a token or a key file, not both: a token is for the HTTP face")
    return Access(NodeConfig(), None, token, options.ca_file)


def _token(path: str | None) -> str | None:
    if path is None:
        token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
        source = TOKEN_VARIABLE
    else:
        source = "--token"
        try:
            token = Path(path).read_text(encoding="ascii").strip()
        except (OSError, ValueError) as exc:
            # The text is not quoted: it may be the token itself.
            reason = exc.strerror if isinstance(exc, OSError) else "it is no text"
            raise ConfigError(f"--token names a file with a token, and it can't be read: {reason}") from None
    if token is not None and not (token and all(ord(char) in _PRINTABLE for char in token)):
        raise ConfigError(f"{source}: that is no token; make one with: trionet keys token --scope read")
    return token
