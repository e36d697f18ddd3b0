"""Count words in many texts on three nodes, while one of them is killed.

The method is marked as idempotent: counting twice does no harm. So the texts that the killed node was at work on go to
the others, and nothing is missing in the end. It prints::

    3 workers
    a worker is killed
    300 of 300 texts are counted, with 6,900 words
    some were sent twice: True
"""

import os
import re
import signal

import trio

import trionet

TEXTS = [f"{number}: " + "the sea came in over the sand and over the stones " * 2 for number in range(100)] * 3


class WordCounter:
    """Counts words."""

    @trionet.rpc(idempotent=True)
    async def count(self, text: str) -> int:
        """Return the number of words in `text`; it takes a while."""
        await trio.sleep(0.02)
        return len(re.findall(r"\w+", text))

    @trionet.rpc
    def pid(self) -> int:
        """Return the process id of its node."""
        return os.getpid()


async def main(node: trionet.Node) -> None:
    """Have the texts counted; kill a worker in between."""
    config = trionet.NodeConfig(services={"word_counter": "map_through_a_kill:WordCounter"})
    workers = [await node.spawn(config) for _ in range(3)]
    await node.local.groups.put("workers", workers)
    group = node.group("workers")
    print(f"{len(group.members())} workers")

    counted = words = sent = 0
    async with group.map(WordCounter.count, TEXTS, per_member=2) as results:
        async for done in results:
            counted, words, sent = counted + 1, words + done.result(), sent + done.attempts
            if counted == 100:
                os.kill(await node.call(workers[0], WordCounter.pid), signal.SIGKILL)
                print("a worker is killed")
    print(f"{counted} of {len(TEXTS)} texts are counted, with {words:,} words")
    print(f"some were sent twice: {sent > counted}")


if __name__ == "__main__":
    trionet.run(main, trionet.NodeConfig(log_level="error"))
