"""``trionet-node``: one node in this process."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec
import trio

from trionet.config import NodeConfig, parse_setting
from trionet.errors import ConfigError, RemoteError, TrionetError
from trionet.launchers.supervised import MAX_LINE_BYTES, Boot, Report, decode_line, encode_line
from trionet.node import Node, open_node
from trionet.nurseries import open_background_nursery

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = ["main"]

_DESCRIPTION = """\
Run one trionet node until it is stopped: by Ctrl-C, SIGTERM, or a call of its service status.stop.

When the node accepts calls it prints one line with its address. Every setting can also stand in a
configuration file, or in an environment variable TRIONET_<SETTING>; what is given here goes before the
environment, and the environment before the file.
"""

_EPILOG = """\
settings of a configuration file (TOML, or JSON if its name ends in .json), with their defaults:

  ip = "127.0.0.1"            address to listen on
  port = 0                    0 picks a free port
  advertise_ip                what others connect to, where that isn't ip
  on_start                    "package.module:function", called with the node once it accepts calls
  insecure = false            permit listening beyond loopback without protection
  services = {}               local services, name = "package.module:Class"
  templates = {}              service templates, name = "package.module:Class"
  max_message_bytes = 16777216
  max_connections = 4096
  idle_timeout_s = 75.0
  body_timeout_s = 60.0
  connect_timeout_s = 5.0
  stop_grace_s = 2.0          how long a stopping node waits for the calls it is answering
  log_level = "info"          debug, info, warning, error

examples:
  trionet-node --port 8080
  trionet-node --config node.toml --log-level debug
  trionet-node --config '{"port": 8080, "services": {"counter": "shop.counter:Counter"}}' --json
  curl -X PUT http://127.0.0.1:8080/local/status/get -d '["nid"]'

exit status: 0 stopped, 1 failed, 2 wrong usage or configuration, 130 interrupted while starting
"""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="trionet-node",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--ip", metavar="IP", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="PORT", help="TCP port; 0 picks a free one (default: 0)")
    parser.add_argument("--advertise-ip", metavar="IP", help="what other nodes connect to, where that isn't --ip")
    parser.add_argument("--on-start", metavar="MODULE:FUNC", help="called with the node once it accepts calls")
    parser.add_argument(
        "--insecure", action="store_const", const="true", help="permit listening beyond loopback without protection"
    )
    parser.add_argument("--config", metavar="FILE|JSON", help="a configuration file, or its content as a JSON object")
    parser.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error (default: info)")
    parser.add_argument("--json", action="store_true", help="print the ready line as JSON")
    parser.add_argument("--supervised", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    options = _parser().parse_args(argv)
    try:
        sys.exit(_run_supervised() if options.supervised else _run(options))
    except ConfigError as exc:
        print(f"trionet-node: {exc}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)


def _run(options: argparse.Namespace) -> int:
    config = _config(options)
    _prepare_process(config)
    try:
        trio.run(_serve, config, lambda node: _announce(node, as_json=options.json))
    except ConfigError:
        raise
    except _Interrupted:
        return 130
    except TrionetError as exc:
        print(f"trionet-node: {exc}", file=sys.stderr)
        return 1
    except Exception:
        logging.getLogger("trionet").exception("the node failed")
        return 1
    return 0


def _config(options: argparse.Namespace) -> NodeConfig:
    settings: dict[str, Any] = {}
    source = options.config or os.environ.get("TRIONET_CONFIG")
    if source:
        settings |= _settings_from(source)
    settings |= NodeConfig.settings_from_environment()
    for name in ("ip", "port", "advertise_ip", "on_start", "insecure", "log_level"):
        if (text := getattr(options, name)) is not None:
            settings[name] = parse_setting(name, text, source=f"--{name.replace('_', '-')}")
    config = NodeConfig.from_mapping(settings)
    config.check_bind()
    return config


def _settings_from(source: str) -> dict[str, Any]:
    if not source.lstrip().startswith("{"):
        return NodeConfig.settings_from_file(Path(source))
    try:
        settings: dict[str, Any] = msgspec.json.decode(source)
    except msgspec.DecodeError as exc:
        raise ConfigError(f"--config: {exc}") from exc
    return settings


def _prepare_process(config: NodeConfig) -> None:
    logging.basicConfig(level=config.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    try:
        import resource
    except ImportError:  # not on Windows
        return
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


class _Interrupted(Exception):
    """A signal came before the node had booted."""


async def _serve(config: NodeConfig, announce: Callable[[Node], None]) -> None:
    """Run a node until it is stopped; a first signal stops it, a second one doesn't wait."""
    node: Node | None = None
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async with open_background_nursery() as nursery:
            interrupted = False

            async def obey_signals() -> None:
                nonlocal interrupted
                async for _ in signals:
                    if node is None or interrupted:
                        interrupted = True
                        nursery.cancel_scope.cancel()
                    else:
                        interrupted = True
                        node.stop()

            nursery.start_soon(obey_signals)
            async with open_node(config) as node:
                announce(node)
                await trio.sleep_forever()
    if node is None:
        raise _Interrupted


def _announce(node: Node, *, as_json: bool) -> None:
    address = node.address
    if as_json:
        ready = {"ip": address.ip, "port": address.port, "nid": node.nid, "sid": node.sid, "pid": os.getpid()}
        line = msgspec.json.encode(ready).decode()
    else:
        line = f"trionet-node {node.sid} is ready on {address} (pid {os.getpid()})"
    print(line, flush=True)


def _run_supervised() -> int:
    """Run the node of a launcher: told by standard input, reporting on standard output, stopping with its parent."""
    report_to = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)

    def report(message: Report) -> None:
        with contextlib.suppress(BrokenPipeError), report_to:
            report_to.write(encode_line(message))

    async def serve(boot: Boot) -> None:
        token = trio.lowlevel.current_trio_token()
        scope = trio.CancelScope()
        threading.Thread(target=_stop_with_parent, args=(token, scope, boot.config.stop_grace_s), daemon=True).start()
        with scope:
            await _serve(boot.config, lambda node: report(Report(address=node.address)))

    try:
        boot = decode_line(sys.stdin.buffer.readline(MAX_LINE_BYTES), Boot)
        sys.path[:] = boot.sys_path
        _prepare_process(boot.config)
        trio.run(serve, boot)
    except TrionetError as exc:
        report(Report(error=exc))
        return 1
    except Exception as exc:
        report(Report(error=RemoteError.from_exception(exc)))
        return 1
    return 0


def _stop_with_parent(token: trio.lowlevel.TrioToken, scope: trio.CancelScope, grace_s: float) -> None:
    """Wait in a thread for the end of standard input, which is the parent's end; then stop, at the latest by force.

    A thread, because user code may block the event loop for good.
    """
    while os.read(0, 4096):
        pass
    with contextlib.suppress(trio.RunFinishedError):
        token.run_sync_soon(scope.cancel)
    time.sleep(grace_s + _FORCE_AFTER_S)
    os._exit(1)


_FORCE_AFTER_S = 2.0


if __name__ == "__main__":
    main()
