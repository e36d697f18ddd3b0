"""Keys, and what is sealed and signed with them: the parts of trionet that need the extra ``secure``.

Only what needs a key imports this package, so that a node without one needs no ``cryptography``. A contract in
``pyproject.toml`` lists the modules that are pure: no clock, no I/O, no randomness of their own, no logging.
"""
