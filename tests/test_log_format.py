"""Log lines as JSON: their fields, and that nothing breaks them."""

from __future__ import annotations

import json
import logging
import logging.config
import sys
from datetime import datetime
from typing import TYPE_CHECKING, Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from tests.tracing.recorded import recording
from trionet import JSONLogFormatter, Node, NodeAddress, Remote, current_call, open_node, rpc
from trionet.log_limits import about, limited_log

if TYPE_CHECKING:
    from collections.abc import Generator

log = logging.getLogger("shop.orders")


class _Lines(logging.Handler):
    """Keeps what a formatter makes of each record."""

    def __init__(self) -> None:
        super().__init__()
        self.formatter: JSONLogFormatter = JSONLogFormatter()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))

    def last(self) -> dict[str, Any]:
        line = self.lines[-1]
        assert "\n" not in line
        return dict(json.loads(line))


@pytest.fixture
def lines() -> Generator[_Lines]:
    handler = _Lines()
    for logger in (log, logging.getLogger("trionet")):
        logger.addHandler(handler)
        logger.setLevel(logging.INFO)
    yield handler
    for logger in (log, logging.getLogger("trionet")):
        logger.removeHandler(handler)
        logger.setLevel(logging.NOTSET)


def test_a_line_has_its_time_level_logger_message_and_fields(lines: _Lines) -> None:
    log.warning("%d pears are left", 3, extra={"fruit": "pear", "left": 3, "shops": ["a", {"b": None}]})
    found = lines.last()
    when = datetime.fromisoformat(found.pop("time"))
    assert when.tzinfo is not None
    assert abs(when.timestamp() - datetime.now(when.tzinfo).timestamp()) < 60
    assert lines.lines[-1].split('"')[3].endswith("Z")
    assert found == {
        "level": "warning",
        "logger": "shop.orders",
        "message": "3 pears are left",
        "fruit": "pear",
        "left": 3,
        "shops": ["a", {"b": None}],
    }
    assert list(json.loads(lines.lines[-1]))[:4] == ["time", "level", "logger", "message"]


def test_a_field_with_the_name_of_another_is_kept_apart(lines: _Lines) -> None:
    log.info("x", extra={"time": 1, "level": 2, "logger": 3, "exception": 4, "kind": "a user's"})
    found = lines.last()
    assert (found["time_"], found["level_"], found["logger_"], found["exception_"]) == (1, 2, 3, 4)
    assert (found["level"], found["kind"]) == ("info", "a user's")


def test_an_exception_is_its_traceback(lines: _Lines) -> None:
    try:
        raise ValueError("no pears")
    except ValueError:
        log.exception("the order failed")
    found = lines.last()["exception"]
    assert found.startswith("Traceback (most recent call last):\n")
    assert found.endswith("ValueError: no pears")


def formatted(**of_record: Any) -> dict[str, Any]:
    """Return the line of a record that pytest's own handlers don't see: they can't take every one."""
    line = JSONLogFormatter().format(logging.makeLogRecord(of_record))
    assert "\n" not in line
    return dict(json.loads(line))


class _Unruly:
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__

    def __eq__(self, other: object) -> bool:
        raise RuntimeError("no comparison")

    __hash__ = object.__hash__


_CYCLE: list[Any] = []
_CYCLE.append(_CYCLE)


@pytest.mark.parametrize(
    "value",
    [
        _Unruly(),
        {_Unruly(): _Unruly()},
        _CYCLE,
        float("nan"),
        float("inf"),
        10**5_000,
        "\udcff\n\r\u2028\x00",
        b"\xff",
        {1, 2},
        {"a": {"b": {"c": {"d": {"e": 1}}}}},
        ["x" * 100_000] * 200,
        trio.CancelScope(),
    ],
    ids=lambda value: type(value).__name__,
)
def test_no_value_breaks_a_line(value: object) -> None:
    assert formatted(msg="an order", order=value)["order"] is not None
    assert formatted(msg="an order of %s", args=(value,))["message"]
    assert formatted(msg=value)["message"] is not None


def test_a_line_with_wrong_arguments_is_written() -> None:
    assert formatted(msg="%d", args=("no number",))["message"] == "(it can't be shown)"


JSON_VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**60), 2**60)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@pytest.mark.parametrize("own", [{"created": float("nan")}, {"created": 1e20}, {"levelname": None}, {"name": 3}])
def test_a_record_with_odd_fields_of_its_own_is_a_line_too(own: dict[str, Any]) -> None:
    record = logging.makeLogRecord({"msg": "hello", **own})
    assert json.loads(JSONLogFormatter().format(record))["message"] == "hello"


@given(st.text(), st.dictionaries(st.text().map("x{}".format), JSON_VALUES, max_size=4))
def test_any_message_and_fields_are_one_line_of_json(message: str, fields: dict[str, Any]) -> None:
    assert formatted(msg=message, **fields)["message"] == message


def test_a_line_of_trionet_names_its_peer_or_what_it_is_about(lines: _Lines) -> None:
    own = limited_log("trionet.tests.format")
    own.warning("x", extra=about("10.0.0.1", "a kind", node=NodeAddress("10.0.0.2", 7), lag_s=1.5))
    found = lines.last()
    assert found.keys() == {"time", "level", "logger", "message", "peer", "node", "lag_s"}
    assert (found["peer"], found["node"], found["lag_s"]) == ("10.0.0.1", "10.0.0.2:7", 1.5)
    own.warning("y", extra=about("workers", gid="workers"))
    assert lines.last().keys() == {"time", "level", "logger", "message", "gid"}
    own.warning("z", extra=about("", node="a"))
    assert lines.last().keys() == {"time", "level", "logger", "message", "node"}


class Orders:
    """Logs in a handler."""

    def __init__(self) -> None:
        self.ids: list[str] = []

    @rpc
    async def add(self) -> None:
        self.ids.append(current_call().id)
        log.info("an order")

    @rpc
    def add_at_once(self) -> None:
        self.ids.append(current_call().id)
        log.info("an order")

    @rpc(thread=True)
    def add_slowly(self) -> None:
        self.ids.append(current_call().id)
        log.info("an order")


@pytest.mark.parametrize("method", ["add", "add_at_once", "add_slowly"])
@pytest.mark.parametrize("traced", [False, True])
async def test_a_line_of_a_handler_names_its_call_and_its_trace(
    lines: _Lines, monkeypatch: pytest.MonkeyPatch, method: str, *, traced: bool
) -> None:
    async def call(a: Node, b: Node) -> None:
        orders = Orders()
        await b.local.routes.put(orders, "orders")
        lines.formatter.node = b.address
        await a.local.comm.send([], Remote(node=b.address, service="orders", method=method))
        found = next(line for line in map(json.loads, lines.lines) if line["message"] == "an order")
        told = {name: found[name] for name in ("call_id", "gid", "service", "method", "caller", "node", "sid")}
        assert told == {
            "call_id": orders.ids[0],
            "gid": "local",
            "service": "orders",
            "method": method,
            "caller": str(a.address),
            "node": str(b.address),
            "sid": b.sid,
        }
        assert ("trace_id" in found, "span_id" in found) == (traced, traced)
        if traced:
            server = recorder.begun[-1].context
            assert server is not None
            assert (found["trace_id"], found["span_id"]) == (f"{server.trace_id:032x}", f"{server.span_id:016x}")

    async with open_node() as a, open_node() as b:
        if not traced:
            await call(a, b)
            return
        with recording(monkeypatch) as recorder:
            await call(a, b)


def test_the_formatter_is_what_a_configuration_of_logging_can_name() -> None:
    root = logging.getLogger("trionet.tests.configured")
    logging.config.dictConfig(
        {
            "version": 1,
            "disable_existing_loggers": False,
            "formatters": {"json": {"()": "trionet.JSONLogFormatter"}},
            "handlers": {"out": {"class": "logging.StreamHandler", "formatter": "json", "stream": sys.stderr}},
            "loggers": {"trionet.tests.configured": {"handlers": ["out"]}},
        }
    )
    (handler,) = root.handlers
    assert isinstance(handler.formatter, JSONLogFormatter)
    root.removeHandler(handler)
