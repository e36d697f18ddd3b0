"""The link as a sans-IO core: bytes and the time go in; events, bytes to send and the next deadline come out.

- `frames`: the wire format
- `channel`: the seam for a layer that transforms the bytes, such as encryption
- `handshake`, `refusals`: preface, mode and hello
- `windows`, `chunks`, `blob_parts`: flow control and reassembly of long frames, and of the long bytes beside them
- `outbox`: frames to be sent, batches and back-pressure
- `calls`: the state of one call
- `liveness`, `round_trip`: pings, silence and idle links
- `holdings`: the bytes that all links of a node hold
- `core`: one link after its handshake
"""
