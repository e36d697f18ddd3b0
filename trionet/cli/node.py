"""``trionet-node``: one node in this process."""

from __future__ import annotations

import argparse
import os
import sys
from functools import partial
from typing import TYPE_CHECKING, Final, NoReturn, TextIO

import msgspec
import trio

from trionet.config import CERTIFICATE_FILES, NodeConfig, parse_setting
from trionet.launchers.output import name_output
from trionet.streams import check_written, claim_stdout, prepare_streams

from .arguments import Parser, add_certificate, add_key_file, import_from_working_directory, keys_of, settings_from
from .ending import end_soon
from .first_process import become_child
from .passed_sockets import on_passed, passed_sockets
from .service_manager import ServiceManager
from .serving import prepare_process, run_reporting, serve

if TYPE_CHECKING:
    from collections.abc import Sequence

    from trionet.node import Node

__all__ = ["main", "make_parser"]

_DESCRIPTION = """\
Run one trionet node until it is stopped: by Ctrl-C, SIGTERM, or a call of its service status.stop.

When the node accepts calls it prints one line with its address. Every setting can also be in a
configuration file, or in an environment variable TRIONET_<SETTING>. Options have priority over the
environment, and the environment over the file.
"""

_EPILOG = """\
settings of a configuration file (TOML, or JSON if its name ends in .json), with their defaults:

  ip = "127.0.0.1"            address to listen on
  port = 0                    0 picks a free port
  advertise_ip                the address that others connect to, or its interface, if not ip
  advertise_port              the port that others connect to, TCP and UDP, if it is mapped to port
  on_start                    "package.module:function", called with the node once it accepts calls
  insecure = false            permit listening beyond loopback without a key
  trust_code = false          read code that holders of the key send
  key_file                    the file of the cluster's key, of mode 0600
  certificate_file            the node's certificate for spiffe://CLUSTER/node/NAME, in PEM
  private_key_file            its private key, of mode 0600
  ca_file                     the certificates of the CAs of all nodes
  accept = "sealed"           with a key: sealed, or in a rollout both or plain, where the key file may come later
  send = "sealed"             with a key: sealed, or plain until all members accept both
  cluster = "trionet"         the cluster's name; clusters of different names never merge, even with one key
  policy                      tables allow and deny, principal = ["gid/service/method"]; or "package.module:function"
  services = {}               local services, name = "package.module:Class"
  templates = {}              service templates, name = "package.module:Class"
  join                        addresses of nodes of a cluster to join; [] begins a cluster
  profile = "lan"             the timing of the cluster: lan, local or wan
  tags = {}                   texts about the node for its cluster, name = text
  datagrams = true            whether membership and gossip use UDP, on the same port number
  transport = "link"          the transport of its calls: link or http
  busy_poll = true            whether links poll for input for a moment before they sleep
  max_message_bytes = 16777216
  max_held_bytes              the bytes of messages that all links hold, by default 256 MiB
  max_message_containers = 1000000
  max_calls_per_peer = 1024
  max_threads = 40            the handlers that run in worker threads at once
  max_connections = 4096
  idle_timeout_s = 75.0
  body_timeout_s = 60.0
  connect_timeout_s = 5.0
  stop_grace_s = 2.0          how long a stopping node waits for the calls in progress
  child_launcher              the launcher of other nodes: forkserver, subprocess, in_process, ssh:HOST
  log_level = "info"          debug, info, warning, error
  log_format = "text"         text, or json: one object a line

and for the node that spawns it:

  launcher                    its launcher; by default the child_launcher of its spawner
  restart = "never"           whether it is restarted: never, on_failure or always
  detach = false              whether it outlives its spawner

A key may also be in the environment variable TRIONET_KEY, never in a command line; see trionet keys --help.

examples:
  trionet-node --port 8080
  trionet-node --join 127.0.0.1:8080
  trionet-node --ip 10.0.0.2 --key-file cluster.key
  trionet-node --config node.toml --log-level debug
  trionet-node --config '{"port": 8080, "services": {"counter": "shop.counter:Counter"}}' --json
  curl -X PUT http://127.0.0.1:8080/local/status/get -d '["nid"]'

exit status: 0 stopped, 1 failed, 2 wrong usage or configuration, 130 interrupted while starting
"""

_SETTINGS: Final = (
    "ip",
    "port",
    "advertise_ip",
    "advertise_port",
    "on_start",
    "insecure",
    "key_file",
    "trust_code",
    "log_level",
    "log_format",
)


def make_parser() -> Parser:
    """Return the parser of its arguments."""
    parser = Parser(prog="trionet-node", description=_DESCRIPTION, epilog=_EPILOG)
    add = parser.add_argument
    add("--ip", metavar="IP", help="address to listen on (default: 127.0.0.1)")
    add("--port", metavar="PORT", help="TCP port; 0 picks a free one (default: 0)")
    add("--advertise-ip", metavar="IP", help="address that other nodes connect to, or its interface, if not --ip")
    add("--advertise-port", metavar="PORT", help="port that other nodes connect to, if it is mapped to --port")
    add("--on-start", metavar="MODULE:FUNC", help="called with the node once it accepts calls")
    add("--join", metavar="ADDR", action="append", help="a node of the cluster to join, host:port; repeatable")
    add("--insecure", action="store_const", const="true", help="permit listening beyond loopback without a key")
    add_key_file(parser)
    add_certificate(parser)
    add("--config", metavar="FILE|JSON", help="a configuration file, or its content as a JSON object")
    add("--trust-code", action="store_const", const="true", help="read code that holders of the key send")
    add("--log-level", metavar="LEVEL", help="debug, info, warning or error (default: info)")
    add("--log-format", metavar="FORMAT", help="text, or json: one object a line (default: text)")
    add("--json", action="store_true", help="print the ready line as JSON")
    add("--supervised", action="store_true", help=argparse.SUPPRESS)
    add("--supervised-many", action="store_true", help=argparse.SUPPRESS)
    add("--placed", action="store_true", help=argparse.SUPPRESS)
    add("--entered", action="store_true", help=argparse.SUPPRESS)
    return parser


def main(argv: Sequence[str] | None = None) -> NoReturn:
    """Run the command; ends the process."""
    become_child()
    prepare_streams()
    options = make_parser().parse_args(argv)
    if options.supervised_many:
        from .far_forkserver import serve_far  # it imports what only a helper that forks needs

        serve_far(has_entered=options.entered)
    sys.exit(
        end_soon(
            _run_supervised(options) if options.supervised else run_reporting("trionet-node", partial(_run, options))
        )
    )


def _run_supervised(options: argparse.Namespace) -> int:
    from .place import enter_place  # these import what only a node under a launcher needs
    from .supervised import refuse_to_boot, run_piped

    if options.placed and (reason := enter_place(has_entered=options.entered)):
        return refuse_to_boot(reason)
    return run_piped()


def _run(options: argparse.Namespace) -> int:
    import_from_working_directory()
    sockets = passed_sockets(os.environ)
    config, *others = on_passed(_config(options), sockets)
    keys = keys_of(config)
    for each in (config, *others):
        each.check_bind(has_key=keys is not None)
    prepare_process(config)
    name_output(config)
    results = claim_stdout()
    manager = ServiceManager.of_environment(os.environ)
    trio.run(serve, config, keys, lambda node: _announce(node, results, as_json=options.json), manager, sockets)
    return 0


def _config(options: argparse.Namespace) -> NodeConfig:
    settings = settings_from(options.config)
    for name in (*_SETTINGS, *CERTIFICATE_FILES):
        if (text := getattr(options, name)) is not None:
            settings[name] = parse_setting(name, text, source=f"--{name.replace('_', '-')}")
    if options.join is not None:
        settings["join"] = [seed for text in options.join for seed in text.split(",")]
    return NodeConfig.from_mapping(settings, source="command line")


def _announce(node: Node, results: TextIO, *, as_json: bool) -> None:
    address = node.address
    if as_json:
        ready = {"ip": address.ip, "port": address.port, "nid": node.nid, "sid": node.sid, "pid": os.getpid()}
        line = msgspec.json.encode(ready).decode()
    else:
        line = f"trionet-node {node.sid} is ready on {address} (pid {os.getpid()})"
    print(line, file=results)
    check_written(results)


if __name__ == "__main__":
    main()
