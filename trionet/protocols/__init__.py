"""Sans-IO protocol cores: input and the time go in, effects come out. No clock, no socket, no Trio.

Membership is `swim`, gossip is `gossip`; `mux` runs both over packets. A contract in ``pyproject.toml`` checks that
nothing here imports Trio, a clock, a socket or a logger, directly or indirectly.
"""
