"""Cluster keys and what is made of them: tokens, signatures, sealed links and datagrams.

The modules are pure: bytes go in, bytes come out; the time and random bytes are arguments. `key_file` alone touches
files. They are imported on use, because `cryptography` and `http-sf`, the extra ``secure``, may not be installed.
"""
