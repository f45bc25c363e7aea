"""The language peers speak: messages, their CBOR form, frames and records.

Floor 1. Mirrors `docs/protocol.md` section by section. Bytes in, values out; no sockets, no keys.
"""
