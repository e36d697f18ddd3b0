"""``trionet doctor``: what is wrong with a cluster, and what to do."""

from __future__ import annotations

import shutil
import textwrap
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from trionet.cli.frame import Command
from trionet.diagnosis.checks import CHECKS, diagnose
from trionet.diagnosis.facts import Survey, survey_from
from trionet.diagnosis.findings import Finding, confirmed
from trionet.errors import ConnectionLost, PreconditionFailed, ServiceNotFound

if TYPE_CHECKING:
    import argparse

    from trionet.cli.client import Client
    from trionet.cli.output import Output

__all__ = ["COMMANDS", "examined", "report"]

_DESCRIPTION = """\
Check a cluster for what goes wrong in practice, and say what to do.

The node at ADDR asks all members that it knows; each tries to reach others by connections and datagrams. What is found
is looked for a second time, so that a change in progress is no finding.
"""

_AGAIN_S: Final = 3.0
"""The pause before the second look: several probes of membership."""
_WIDTH: Final = 100
_LEAST_WIDTH: Final = 30
_UNFOLDED: Final = 100_000


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--once", action="store_true", help="look once, and report what may be gone in a moment, too")


async def _surveyed(client: Client) -> Survey:
    try:
        answer = await client.call("diagnosis", "survey")
    except ServiceNotFound as exc:
        raise PreconditionFailed(
            f"the node at {client.node} is of a version without a doctor: upgrade it, or ask another member",
            node=str(client.node),
        ) from exc
    try:
        return msgspec.structs.replace(survey_from(answer), asked_as=str(client.node))
    except msgspec.ValidationError as exc:
        raise ConnectionLost(f"the node answered with no survey: {exc}", node=str(client.node)) from exc


async def examined(client: Client, *, once: bool = False, again_s: float = _AGAIN_S) -> tuple[Survey, list[Finding]]:
    """Return the facts of a cluster, and what is wrong with it.

    Args:
        client: of one of its nodes.
        once: whether one look is enough.
        again_s: the pause before the second one.
    """
    survey = await _surveyed(client)
    found = diagnose(survey)
    if found and not once:
        await trio.sleep(again_s)
        survey = await _surveyed(client)
        found = confirmed(found, diagnose(survey))
    return survey, found


def report(survey: Survey, found: list[Finding], width: int = _WIDTH) -> str:
    """Return the findings as a text."""
    lines: list[str] = []
    for finding in found:
        lines += textwrap.wrap(f"{finding.severity}: {finding.what}", width, subsequent_indent="  ")
        lines += textwrap.wrap(f"-> {finding.advice}", width, initial_indent="  ", subsequent_indent="     ")
    wrong = sum(finding.severity != "note" for finding in found)
    members = "1 member" if len(survey.members) == 1 else f"{len(survey.members)} members"
    verdict = "healthy" if not wrong else "1 finding" if wrong == 1 else f"{wrong} findings"
    lines.append(f"{members}, {len(CHECKS)} checks: {verdict}")
    return "\n".join(lines)


def _width(output: Output) -> int:
    """Return the width of lines; elsewhere than on a terminal they are not folded."""
    return max(_LEAST_WIDTH, shutil.get_terminal_size().columns) if output.is_terminal else _UNFOLDED


async def _run(client: Client, options: argparse.Namespace) -> bool:
    survey, found = await examined(client, once=options.once)
    is_healthy = all(finding.severity == "note" for finding in found)

    def document() -> dict[str, Any]:
        return {
            "node": survey.entry,
            "healthy": is_healthy,
            "members": sorted(survey.members),
            "findings": [msgspec.to_builtins(finding) for finding in found],
            "facts": msgspec.to_builtins(survey.members),
        }

    options.output.show(document(), lambda _: report(survey, found, _width(options.output)))
    return is_healthy


COMMANDS: Final = {
    "doctor": Command(
        name="doctor",
        description=_DESCRIPTION,
        examples=["127.0.0.1:8080", "127.0.0.1:8080 --json", "10.0.0.5:8080 --key-file cluster.key"],
        run=_run,
        add_arguments=_add_arguments,
        timeout_s=90.0,
    )
}
