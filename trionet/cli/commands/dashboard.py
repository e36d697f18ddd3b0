"""``trionet dashboard``: opens the dashboard of a node in a browser.

With a key, the command leaves a token with the node for a minute, and opens the page with a ticket for it, which is
good once, in the fragment of the URL: a fragment goes into no log and no ``Referer``; and who finds it in the argument
list of the program that opens the browser comes too late.

Invariant: the token itself goes to the node alone, and to that only within this machine or by TLS.
"""

from __future__ import annotations

import http.client
import os
import sys
import time
import webbrowser
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.cli.frame import Command
from trionet.errors import ConfigError, ConnectionLost, NodeUnreachable, NotPermitted
from trionet.identity import is_loopback

if TYPE_CHECKING:
    import argparse
    import ssl

    from trionet.cli.client import Access, Client
    from trionet.config import NodeConfig
    from trionet.identity import NodeAddress

__all__ = ["COMMANDS", "has_display", "page_url"]

_DESCRIPTION = """\
Open the dashboard of a node in a browser, and print its URL. Any node shows its whole cluster.

With a key or a token, the URL has a ticket in it, which is good once and for a minute; the page exchanges it.
"""

_SCOPES: Final = ("read", "call", "admin")
_HOURS: Final = 8
_MOST_HOURS: Final = 24 * 365
_WITHIN_S: Final = 10.0
_MOST_ANSWER_BYTES: Final = 65536
_OTHER_PAGE: Final = "/dashboard"
"""Where it is if the program has a page of its own at ``/``."""
_OK: Final = 200
_PROTECTED: Final = (401, 403)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add(
        "--scope",
        choices=_SCOPES,
        default="read",
        help="with --key-file: what the page may do: read sees, call calls methods, too, and admin cancels and stops,"
        " too (default: read)",
    )
    add("--hours", type=float, default=_HOURS, metavar="H", help=f"with --key-file: for how long (default: {_HOURS})")
    add("--no-browser", action="store_true", help="print the URL, and open no browser")


async def _run(client: Client, options: argparse.Namespace) -> bool:
    url = await page_url(client.node, options.access, options.scope, options.hours)
    options.output.show({"url": url}, lambda _: url)
    if not options.no_browser and not options.json and has_display():
        await trio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True)
    return True


def has_display() -> bool:
    """Return whether a browser would have a screen: on Linux and the BSDs, that of a desktop."""
    if os.name != "posix" or sys.platform == "darwin":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY") or os.environ.get("BROWSER"))


async def page_url(node: NodeAddress, access: Access, scope: str, hours: float) -> str:
    """Return the URL of a node's dashboard, with a ticket in it where the node needs a token.

    Args:
        node: the node's address.
        access: what this client shows to it.
        scope: what the page may do, if a key makes its token.
        hours: for how long, likewise.

    Raises:
        ConfigError: the node has a key, and this client none, nor a token; or the options can't be used.
        NodeUnreachable: it can't be reached.
        NotPermitted: it refuses the token.
    """
    token = _token_of(access, scope, hours)
    ca_file = access.ca_file or access.settings.ca_file
    if token is not None and ca_file is None and not is_loopback(node.ip):
        raise ConfigError(
            f"{node} is another machine, and a token must not go there in plain HTTP: use an ssh tunnel "
            f"(ssh -L {node.port}:{node} HOST, and then 127.0.0.1:{node.port}), or --token and --ca-file if its "
            "nodes have certificates"
        )
    answer = await trio.to_thread.run_sync(
        partial(_ticket, node, token, ca_file, access.settings), abandon_on_cancel=True
    )
    ticket = answer.get("ticket")
    page = _OTHER_PAGE if answer.get("page") == _OTHER_PAGE else "/"
    return f"{'http' if ca_file is None else 'https'}://{node}{page}" + (f"#token={ticket}" if ticket else "")


def _token_of(access: Access, scope: str, hours: float) -> str | None:
    if access.token is not None or access.keys is None:
        return access.token
    from trionet.security.token_scope import Scope
    from trionet.security.tokens import issue_token

    if not 0 < hours <= _MOST_HOURS:
        raise ConfigError(f"--hours is a number, more than 0 and at most {_MOST_HOURS:,}")
    return issue_token(access.keys.sealing, Scope.of(scope), time.time(), max(1.0, hours * 3600))


def _ticket(node: NodeAddress, token: str | None, ca_file: str | None, settings: NodeConfig) -> dict[str, Any]:
    """Leave the token with the node; return its answer, with a ticket if it needs a token. It blocks."""
    status, body = _posted(node, token, ca_file, settings)
    if status in _PROTECTED and token is None:
        raise ConfigError(f"{node} has a key: give its file (--key-file FILE), or a token (--token FILE)")
    try:
        answer = msgspec.json.decode(body, type=dict[str, Any])
    except msgspec.MsgspecError:
        answer = {}
    if status in _PROTECTED:
        raise NotPermitted(f"{node} refuses the token: {answer.get('error', {}).get('text', status)}")
    if status != _OK:
        raise ConnectionLost(f"{node} has no dashboard: it answers with the status {status}", node=str(node))
    return answer


def _posted(node: NodeAddress, token: str | None, ca_file: str | None, settings: NodeConfig) -> tuple[int, bytes]:
    connection: http.client.HTTPConnection
    if ca_file is None:
        connection = http.client.HTTPConnection(node.ip, node.port, timeout=_WITHIN_S)
    else:
        context = _tls(ca_file, settings)
        connection = http.client.HTTPSConnection(node.ip, node.port, timeout=_WITHIN_S, context=context)
    try:
        connection.request(
            "POST", "/dashboard/ticket", headers={} if token is None else {"Authorization": f"Bearer {token}"}
        )
        response = connection.getresponse()
        return response.status, response.read(_MOST_ANSWER_BYTES)
    except (OSError, http.client.HTTPException) as exc:
        raise NodeUnreachable(f"no connection to {node}: {exc or type(exc).__name__}", node=str(node)) from exc
    finally:
        connection.close()


def _tls(ca_file: str, settings: NodeConfig) -> ssl.SSLContext:
    from trionet.security.certificate_files import client_context  # on use: not for --help

    try:
        context = client_context(ca_file)
        if settings.certificate_file is not None:
            context.load_cert_chain(settings.certificate_file, settings.private_key_file)
    except OSError as exc:
        raise ConfigError(f"the files for TLS can't be used: {exc.strerror or exc}") from exc
    return context


COMMANDS: Final = {
    "dashboard": Command(
        name="dashboard",
        description=_DESCRIPTION,
        examples=[
            "127.0.0.1:8080",
            "127.0.0.1:8080 --key-file cluster.key --scope admin",
            "127.0.0.1:8080 --no-browser",
        ],
        run=_run,
        add_arguments=_add_arguments,
    )
}
