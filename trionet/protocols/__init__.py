"""Sans-IO protocol cores: time and randomness come in as arguments, effects go out. No clock, no socket, no Trio.

Empty so far: membership and gossip live here. The layer's contract (nothing here may reach Trio, a clock, a socket or
a logger) is checked with the others.
"""
