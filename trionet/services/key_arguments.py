"""The arguments of operators to the service ``keys``."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from trionet.current_call import current_call
from trionet.errors import ConfigError, MalformedRequest
from trionet.key_texts import holds_key_text

if TYPE_CHECKING:
    from trionet.security.keys import ClusterKey
    from trionet.security.rollout import Rollout

__all__ = ["is_keys_call", "key_id_of", "key_of", "step_of"]

_ID: Final = re.compile(r"[0-9a-f]{8}\Z")


def is_keys_call() -> bool:
    """Whether a call that operates keys is being answered: of this service, or of ``status``, which has it reload."""
    try:
        return current_call().service in ("keys", "status")
    except RuntimeError:
        return False


def step_of(step: Any) -> Rollout:
    """Return the step of a rollout that an operator names; raise `MalformedRequest` if it is none."""
    from trionet.security.rollout import step_named

    found = step_named(step) if isinstance(step, str) else None
    if found is None:
        raise MalformedRequest(f"a step is accept=both, send=sealed or accept=sealed, in this order; not {step!r:.80}")
    return found


def key_id_of(key_id: Any) -> bytes:
    """Return the key id that an operator names; raise `MalformedRequest` if it is none."""
    if not isinstance(key_id, str) or _ID.match(key_id) is None:
        if holds_key_text(key_id):
            raise MalformedRequest("this is a key, and not its id: keep it to yourself, or make a new one")
        raise MalformedRequest(f"a key id has 8 hex digits; this is {key_id!r:.80}")
    return bytes.fromhex(key_id)


async def key_of(key: Any) -> ClusterKey:
    """Return a key, or the one in the file at a path; raise `MalformedRequest` or `ConfigError` if there is none."""
    from trionet.security.keys import ClusterKey

    from .key_store import read_file

    if isinstance(key, ClusterKey):
        return key
    path = os.fspath(key) if isinstance(key, os.PathLike) else key
    if not isinstance(path, str):
        raise MalformedRequest(f"a key is given by the path of its file, not by a {type(key).__name__}")
    del key
    file = await read_file(path)
    if len(file.entries) != 1:
        raise ConfigError(f"{path} holds {len(file.entries)} keys, and one is installed at a time: give a new file")
    return file.sealing_key
