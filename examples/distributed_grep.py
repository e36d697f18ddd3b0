"""Search the logs of every node where they lie: only the lines that match travel.

The caller reads one stream from each node, all at once. At the limit it stops reading, and that ends the searches and
closes their files on every node, before the block is left. A node that fails is named, and hides no other. To try it on
your machines, give each node the service and a folder::

    LOGS=/var/log/nginx trionet-node --config '{"join": [...], "services": {"grep": "distributed_grep:Grep"}}'
    trionet call --stream 10.0.0.1:8080 all/grep/search ' 5[0-9][0-9] '

It prints::

    web-0 shop.log:3: GET /basket 500
    web-0 shop.log:5: GET /basket 500
    web-1 shop.log:2: GET /basket 500
    web-2 has failed: FileNotFoundError: [Errno 2] No such file or directory: ...
    the first 10 of many: 10; files that are still open: 0
"""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import AsyncIterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import trio

import trionet


@dataclass(frozen=True, order=True)
class Match:
    """A line that matches."""

    file: str
    line: int
    text: str


class Grep:
    """Searches the logs of one folder."""

    open_files = 0

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or Path(os.environ["LOGS"])

    @trionet.rpc(read=True)
    async def search(self, pattern: str) -> AsyncIterator[Match]:
        """Yield the matching lines of all logs."""
        expression = re.compile(pattern)
        for path in sorted(self.folder.iterdir()):
            number = 0
            with path.open(errors="replace") as file:
                Grep.open_files += 1
                try:
                    while lines := await trio.to_thread.run_sync(list, islice(file, 1000)):  # reading blocks
                        for line in lines:
                            number += 1
                            if expression.search(line):
                                yield Match(path.name, number, line.rstrip("\n"))
                finally:  # also when the caller stops reading
                    Grep.open_files -= 1


async def search(group: trionet.Group, pattern: str, limit: int) -> tuple[list[tuple[str, Match]], dict[str, str]]:
    """Return up to `limit` matches with the SIDs of their nodes, and the texts of errors by SID."""
    found: list[tuple[str, Match]] = []
    async with group.stream(Grep.search, pattern) as matches:
        async for sid, match in matches:
            found.append((sid, match))
            if len(found) == limit:
                break  # leaving the block closes the generators on all nodes
    return found, {sid: str(error) for sid, error in matches.errors.items()}


async def main() -> None:
    """Make some logs, open a node for each folder, and search."""
    with tempfile.TemporaryDirectory() as temporary:
        folders = {name: Path(temporary, name) for name in ("web-0", "web-1", "web-2")}
        for name, statuses in (("web-0", (200, 404, 500, 200, 500)), ("web-1", (200, 500))):
            folders[name].mkdir()
            lines = [f"GET /basket {status}\n" for status in statuses] + ["GET / 200\n"] * 10_000
            (folders[name] / "shop.log").write_text("".join(lines))

        async with trio.open_nursery() as nursery:
            names = {}
            for name, folder in folders.items():
                node = await nursery.start(trionet.serve_node, trionet.NodeConfig())
                await node.local.routes.put(Grep(folder))
                names[node.sid] = (name, node)
            nodes = [node for _, node in names.values()]
            await nodes[0].local.groups.put("web", nodes)
            group = nodes[0].group("web")

            found, errors = await search(group, r" 500$", limit=100)
            for name, match in sorted((names[sid][0], match) for sid, match in found):
                print(f"{name} {match.file}:{match.line}: {match.text}")
            for sid, error in errors.items():
                print(f"{names[sid][0]} has failed: {error}")

            found, _ = await search(group, r"200", limit=10)
            print(f"the first 10 of many: {len(found)}; files that are still open: {Grep.open_files}")
            nursery.cancel_scope.cancel()


if __name__ == "__main__":
    trio.run(main)
