"""What a cluster key protects: links, datagrams, requests.

The modules need `cryptography`, the extra ``secure``; nodes without a key don't import them.
"""
