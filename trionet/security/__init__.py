"""What a cluster key protects.

The modules need `cryptography`, the extra ``secure``. A node without a key does not import them.
"""
