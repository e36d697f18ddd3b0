"""Call a group with a deadline of two seconds, and use the replies that have arrived by then.

Without ``partial=True`` the deadline would cancel the caller, as always in Trio. It prints::

    answered: ['a', 'b']
    did not answer: ['c'], CallTimeout
"""

import trio

import trionet

REPORT = trionet.Remote(service="sensor", method="report")


class Sensor:
    """Measures for some seconds, then reports."""

    def __init__(self, name: str, measuring_s: float) -> None:
        self.name = name
        self.measuring_s = measuring_s

    @trionet.rpc
    async def report(self) -> str:
        """Return the sensor's name."""
        await trio.sleep(self.measuring_s)
        return self.name


async def main() -> None:
    """Call three sensors, of which one is too slow."""
    async with trionet.open_node() as a, trionet.open_node() as b, trionet.open_node() as c:
        await a.local.routes.put(Sensor("a", 0.01), "sensor")
        await b.local.routes.put(Sensor("b", 0.02), "sensor")
        await c.local.routes.put(Sensor("c", 3600), "sensor")
        await a.local.groups.put("sensors", [a, b, c])

        with trio.move_on_after(2):
            replies = await a.group("sensors").comm.send([], REPORT, partial=True)

        print(f"answered: {sorted(replies.values.values())}")
        missing = [name for name, node in (("a", a), ("b", b), ("c", c)) if node.sid in replies.errors]
        print(f"did not answer: {missing}, {type(replies.errors[c.sid]).__name__}")


if __name__ == "__main__":
    trio.run(main)
