"""Count the words of a text on three nodes, and put the counts together.

Each node offers a `WordCounter` from its start, by the configuration with which it is spawned. It prints::

    9 lines on 3 nodes
    the: 18
    over: 6
    and: 3
"""

import collections
import re

import trio

import trionet

TEXT = """\
The sea came in over the sand, and over the stones.
The gulls went up.
Nobody saw the tide but the boy.
""" * 3  # fmt: skip


class WordCounter:
    """Counts words."""

    @trionet.rpc
    def count(self, text: str) -> dict[str, int]:
        """Return how often each word is in `text`."""
        return dict(collections.Counter(re.findall(r"[a-z]+", text.lower())))  # subclasses of dict don't travel


async def main(node: trionet.Node) -> None:
    """Split the text, have the pieces counted, and add up."""
    config = trionet.NodeConfig(services={"words": "word_count:WordCounter"})
    lines, counts, used = TEXT.splitlines(), collections.Counter[str](), []

    async def count_share(number: int) -> None:
        address = await node.local.status.spawn(config)
        used.append(address)
        remote = trionet.Remote(node=address, service="words", method="count")
        counts.update(await node.local.comm.send(["\n".join(lines[number::3])], remote))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(count_share, number)

    print(f"{len(lines)} lines on {len(used)} nodes")
    for word, times in sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:3]:
        print(f"{word}: {times}")


if __name__ == "__main__":
    trionet.run(main)
