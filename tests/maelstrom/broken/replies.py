"""One node that does every workload rightly, and spoils every fifth reply of one kind.

The fault is JSON: ``workload`` is what it does; ``reply`` the type of the replies to spoil; ``changes`` replace their
keys, where a value of ``"<remove>"`` takes one away; ``how`` names what no fixed value can do.
"""

import json
from collections import defaultdict
from typing import Any


class Node:
    """The node."""

    def __init__(self, fault: dict[str, Any]) -> None:
        self.fault = fault
        self.count = 0
        self.values: list[Any] = []
        self.registers: dict[str, Any] = {}
        self.logs: defaultdict[str, list[Any]] = defaultdict(list)

    async def serve(self, lines: Any, out: Any) -> None:
        """Answer all lines."""
        async for line in lines:
            message = json.loads(line)
            body = message["body"]
            reply = {"type": f"{body['type']}_ok", "in_reply_to": body["msg_id"], **self.answer(body)}
            reply = self.spoiled(body, reply)
            await out.send(json.dumps({"src": message["dest"], "dest": message["src"], "body": reply}).encode())

    def spoiled(self, body: dict[str, Any], reply: dict[str, Any]) -> dict[str, Any]:
        """Return a reply, or its replacement."""
        if reply["type"] != self.fault.get("reply"):
            return reply
        self.count += 1
        if self.count % 5:
            return reply
        changes = dict(self.fault.get("changes", {}))
        how = self.fault.get("how")
        if how == "in_reply_to is a float":
            changes["in_reply_to"] = float(body["msg_id"])
        elif how == "keys are texts":
            changes["txn"] = [[f, str(key), value] for f, key, value in reply["txn"]]
        elif how == "a micro-operation is missing":
            changes["txn"] = reply["txn"][1:]
        return {key: value for key, value in (reply | changes).items() if value != "<remove>"}

    def answer(self, body: dict[str, Any]) -> dict[str, Any]:
        """Handle a request; return the reply without its type."""
        kind = body["type"]
        if kind in {"broadcast", "add"}:
            self.values.append(next(body[key] for key in ("message", "element", "delta") if key in body))
        elif kind == "write":
            self.registers[body["key"]] = body["value"]
        elif kind == "echo":
            return {"echo": body["echo"]}
        elif kind == "generate":
            return {"id": body["msg_id"] * 1000 + self.next()}
        elif kind == "send":
            self.logs[body["key"]].append(body["msg"])
            return {"offset": len(self.logs[body["key"]]) - 1}
        elif kind == "poll":
            return {"msgs": {key: list(enumerate(self.logs[key]))[begin:] for key, begin in body["offsets"].items()}}
        elif kind == "list_committed_offsets":
            return {"offsets": {}}
        elif kind == "txn":
            return {"txn": [self.done(*op) for op in body["txn"]]}
        elif kind == "read":
            return self.read(body)
        return {}

    def read(self, body: dict[str, Any]) -> dict[str, Any]:
        """Answer a read."""
        if "key" in body:
            return {"value": self.registers.get(body["key"])}
        workload = self.fault["workload"]
        if workload == "broadcast":
            return {"messages": self.values}
        return {"value": self.values if workload == "g-set" else sum(self.values)}

    def next(self) -> int:
        """Return a new number."""
        self.registers["next"] = self.registers.get("next", 0) + 1
        number: int = self.registers["next"]
        return number

    def done(self, f: str, key: Any, value: Any) -> list[Any]:
        """Do a micro-operation; return it with the value that was read."""
        if f == "append":
            self.logs[key].append(value)
        elif f == "w":
            self.registers[key] = value
        else:
            value = list(self.logs[key]) or self.registers.get(key)
        return [f, key, value]


def build(*, fault: str = "{}") -> Node:
    """Return a node with this fault."""
    return Node(json.loads(fault))
