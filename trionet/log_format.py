"""Log lines as JSON: one object a line, for programs that collect them.

The names of the fields are stable; `docs/logging.md` lists them. A record's own fields, which its ``extra=`` gives, go
before those of its surroundings: the node of this process, the call that the running code answers, and its trace.

Invariant: each record is one line of JSON, whatever is in it: a log must not fail for its content.
"""

from __future__ import annotations

import logging
import math
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

from .current_call import answered_call
from .trace_context import TraceContext
from .tracing.telemetry import running_trace
from .user_code import attempt

if TYPE_CHECKING:
    from collections.abc import Callable

    from .identity import NodeAddress

__all__ = ["TEXT_FORMAT", "JSONLogFormatter"]

TEXT_FORMAT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
"""The lines of the commands for people."""

_OF_RECORDS: Final = frozenset(vars(logging.makeLogRecord({}))) | {"asctime", "message", "taskName"}
_OWN_NAMES: Final = frozenset({"time", "level", "logger", "exception"})
_INTERNAL: Final = ("subject", "kind")  # they count the lines of one place; see `log_limits`
_DEEPEST: Final = 4
_MAX_TEXT_CHARS: Final = 16_000
_MAX_BITS: Final = 64
_MOST_ITEMS: Final = 100
_UNREADABLE: Final = "(it can't be shown)"


class JSONLogFormatter(logging.Formatter):
    """Formats a record as a line of JSON: time, level, logger, message, then its fields, then its exception.

    ::

        handler = logging.StreamHandler()
        handler.setFormatter(trionet.JSONLogFormatter())
        logging.basicConfig(level="INFO", handlers=[handler])

    Attributes:
        node: the node whose address and SID stand in lines without others; None for none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.node: NodeAddress | None = None

    def format(self, record: logging.LogRecord) -> str:
        """Return the line of `record`, without its end."""
        import json  # only where this is the format

        line: dict[str, Any] = {
            "time": attempt(_time, record.created, default=_UNREADABLE),
            "level": _text(record.levelname).lower(),
            "logger": record.name,
            "message": attempt(record.getMessage, default=_UNREADABLE),
        }
        own = {str(name): value for name, value in vars(record).items() if name not in _OF_RECORDS}
        if own.keys() >= set(_INTERNAL):
            for name in _INTERNAL:
                del own[name]
        for name, value in (self._surroundings() | own).items():
            if not (value is None or (type(value) is str and value == "")):
                line[f"{name}_" if name in _OWN_NAMES else name] = value
        if trace := self._traceback(record):
            line["exception"] = trace
        return json.dumps(_plain(line, 0))

    def _surroundings(self) -> dict[str, Any]:
        fields: dict[str, Any] = {}
        if self.node is not None:
            fields |= {"node": str(self.node), "sid": self.node.sid}
        answered, trace = answered_call(), running_trace()
        if answered is not None:
            call = answered.current()
            fields |= {"call_id": call.id, "gid": call.gid, "service": call.service, "method": call.method}
            fields["caller"] = "" if call.caller is None else str(call.caller)
            trace = trace or call.trace
        if trace and (context := TraceContext.decoded(trace)) is not None:
            fields |= {"trace_id": context.trace_id.hex(), "span_id": context.span_id.hex()}
        return fields

    def _traceback(self, record: logging.LogRecord) -> str:
        if record.exc_text:
            return record.exc_text
        if not record.exc_info:
            return attempt(self.formatStack, record.stack_info, default=_UNREADABLE) if record.stack_info else ""
        return attempt(self.formatException, record.exc_info, default=_UNREADABLE)


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")[:-6] + "Z"


def _plain(value: Any, depth: int) -> Any:
    """Return `value` as JSON has it; what it doesn't have as a text."""
    kind = type(value)
    if value is None or kind is bool or (kind is int and value.bit_length() <= _MAX_BITS):
        return value
    if kind is str:
        return value[:_MAX_TEXT_CHARS]
    if kind is float and math.isfinite(value):
        return value
    if depth < _DEEPEST:
        if kind is dict:
            return {_text(key): _plain(each, depth + 1) for key, each in islice(value.items(), _MOST_ITEMS)}
        if kind in (list, tuple):
            return [_plain(each, depth + 1) for each in value[:_MOST_ITEMS]]
    return _text(value)


def _text(value: Any) -> str:
    text: Callable[[Any], str] = str
    return attempt(text, value, default=_UNREADABLE)[:_MAX_TEXT_CHARS]
