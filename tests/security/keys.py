"""Keys for tests, and how to see whether an error or an object shows them."""

from __future__ import annotations

import base64
import random
import traceback
from typing import TYPE_CHECKING

from trionet.security.key_entries import KeyEntry, KeyFile
from trionet.security.key_statements import KeyState
from trionet.security.keys import KEY_BYTES, ClusterKey
from trionet.security.node_keys import NodeKeys

if TYPE_CHECKING:
    from collections.abc import Iterable


def key_of(seed: int) -> ClusterKey:
    """Return the key of this number."""
    return ClusterKey(random.Random(seed).randbytes(KEY_BYTES))


def forms_of(secret: bytes) -> list[str]:
    """Return the texts that show a secret: parts of it are enough to guess the rest."""
    texts = [
        secret.hex(),
        secret.hex().upper(),
        repr(secret)[2:-1],
        base64.b64encode(secret).decode(),
        base64.urlsafe_b64encode(secret).decode(),
        str(list(secret))[1:-1],
    ]
    return [part for text in texts for part in (text[4:24], text[-24:-4])]


def shown_in(text: str, secrets: Iterable[bytes]) -> list[str]:
    """Return what a text shows of secrets."""
    return [form for secret in secrets for form in forms_of(secret) if form in text]


def report_of(exc: BaseException) -> str:
    """Return all that a report shows of an error: its chain, and the variables of trionet's frames."""
    whole = traceback.TracebackException.from_exception(exc, capture_locals=True)
    parts = ["".join(whole.format_exception_only())]
    pending: list[traceback.TracebackException | None] = [whole]
    while pending:
        one = pending.pop()
        if one is None:
            continue
        parts += one.format_exception_only()
        parts += [f"{frame.name} {frame.locals}" for frame in one.stack if "/trionet/" in frame.filename]
        pending += [one.__cause__, one.__context__]
    return "\n".join(parts)


def with_one_more(content: KeyFile) -> KeyFile:
    """Return the content with a new key, installed."""
    key = key_of(100 + len(content.entries))
    return KeyFile((*content.entries, KeyEntry.of(key, KeyState.INSTALLED)), content.members)


def node_keys(seed: int = 1, cluster: str = "trionet") -> NodeKeys:
    """Return the keys of a node of `cluster` that has the key of this number."""
    return NodeKeys(KeyFile.of(key_of(seed)), cluster)
