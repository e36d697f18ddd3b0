"""The arguments of ``trionet call`` and ``trionet gossip``: ``[GID/]SERVICE/METHOD ARGS...``.

An argument is JSON if it can be, and else the word itself; one that begins with ``{``, ``[`` or ``"`` must be JSON.
``name=value`` is passed by name.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from trionet.codec import JSON
from trionet.errors import ConfigError, DecodeError, MalformedRequest
from trionet.identity import check_gid, check_name
from trionet.message import LOCAL, Remote

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Target", "target_of"]

_BY_NAME: Final = re.compile(r"(?P<name>[A-Za-z_]\w*)=(?P<value>.*)", re.ASCII | re.DOTALL)
_JSON_STARTS: Final = ("{", "[", '"')
_MOST_PARTS: Final = 3


class Target(NamedTuple):
    """A method, and the arguments to call it with.

    Attributes:
        gid: the group; ``local`` for one node's own service.
        service, method: the names.
        args, kwargs: the arguments.
    """

    gid: str
    service: str
    method: str
    args: list[Any]
    kwargs: dict[str, Any]

    @property
    def remote(self) -> Remote:
        """The method at each member."""
        return Remote(service=self.service, method=self.method)


def target_of(words: Sequence[str], gid: str = LOCAL) -> Target:
    """Return what words on a command line stand for.

    Args:
        words: the method, and the arguments.
        gid: the group where the method names none.

    Raises:
        ConfigError: they stand for nothing.
    """
    path, *rest = words
    parts = path.split("/")
    if len(parts) not in (_MOST_PARTS - 1, _MOST_PARTS):
        raise ConfigError(f"a method is SERVICE/METHOD, or GID/SERVICE/METHOD, not {path!r:.80}")
    *given, service, method = parts
    try:
        check_gid(given[0] if given else gid)
        check_name(service, "service name")
        check_name(method, "method name")
    except MalformedRequest as exc:
        raise ConfigError(exc.text) from exc
    args, kwargs = list[Any](), dict[str, Any]()
    for word in rest:
        found = _BY_NAME.fullmatch(word)
        if found is None:
            args.append(_value(word))
        elif found["name"] in kwargs:
            raise ConfigError(f"the argument {found['name']} is given twice")
        else:
            kwargs[found["name"]] = _value(found["value"])
    return Target(given[0] if given else gid, service, method, args, kwargs)


def _value(word: str) -> Any:
    try:
        return JSON.decode(word.encode())
    except UnicodeEncodeError:
        raise ConfigError(f"the argument {word!r:.80} is no text") from None
    except DecodeError as exc:
        if word.startswith(_JSON_STARTS):
            raise ConfigError(f"the argument {word!r:.80} begins as JSON does, and is none: {exc.text}") from exc
        return word
