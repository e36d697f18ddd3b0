#!/usr/bin/env python3
"""A node that breaks the protocol, and needs nothing but Python. Its argument is how."""

import json
import os
import signal
import sys
import time

fault = sys.argv[1] if len(sys.argv) > 1 else "none"
node_id = ""
echoes = 0


def send(dest: str, body: object, **extra: object) -> None:
    sys.stdout.write(json.dumps({"src": node_id, "dest": dest, "body": body, **extra}) + "\n")
    sys.stdout.flush()


for line in sys.stdin:
    message = json.loads(line)
    src, body = message["src"], message["body"]
    if body["type"] == "init":
        node_id = body["node_id"]
        if fault == "no-init":
            continue
        if fault == "ends-at-once":
            sys.stderr.write("no, I won't\n")
            sys.exit(3)
        send(src, {"type": "init_ok", "in_reply_to": body["msg_id"]})
    elif body["type"] == "echo":
        echoes += 1
        if echoes == 5:
            if fault == "garbage":
                sys.stdout.write("hello, world\n")
                sys.stdout.flush()
            elif fault == "wrong-envelope":
                send(src, {"type": "hello"}, color="blue")
            elif fault == "unknown-dest":
                send("n77", {"type": "hello"})
            elif fault == "body-is-a-list":
                send(src, [1, 2])
            elif fault == "exits":
                sys.stderr.write("it is too much\n")
                sys.exit(7)
            elif fault == "dies":
                os.kill(os.getpid(), signal.SIGKILL)
            elif fault == "late":
                time.sleep(6)
        send(src, {"type": "echo_ok", "echo": body["echo"], "in_reply_to": body["msg_id"]})
