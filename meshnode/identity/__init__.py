"""Keys, certificates, sealing and the channel handshake. The only room that imports PyNaCl.

Floor 1, above `wire` (certificates and records are CBOR). No sockets, no clock, no files.
"""
