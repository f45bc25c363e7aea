"""Every bound a peer cannot exceed, with the reason for its value.

A decoder checks a length against this file before it allocates anything.
"""

KIB = 1024
MIB = 1024 * KIB

MESSAGE_BYTES_MAX = 1128
"""A datagram's CBOR: its envelope with 16 contacts, or with one signed record."""
SEALING_BYTES = 88
"""What sealing adds: MAC 16, sender's key 32, nonce 24, tag 16."""
DATAGRAM_BYTES_MAX = MESSAGE_BYTES_MAX + SEALING_BYTES
"""1,216: within the 1,232 that IPv6's least MTU of 1,280 leaves; larger ones fragment, are lost."""

HEADER_BYTES_MAX = 64 * KIB
"""The CBOR header of one call. Bulk never travels in it, so this is generous."""

BODY_BYTES_MAX = 64 * MIB
"""The tensors of one request or one answer; bounds what one call can make a node allocate."""

CBOR_DEPTH_MAX = 8
CHUNK_BYTES_BULK = 256 * KIB
"""A record of body bytes while nothing small waits: seals at 1.9 GB/s where 64 KiB does 1.4."""
CHUNK_BYTES_SHARED = 64 * KIB
"""The same while small calls wait, so that none is delayed by more than this."""
RECORD_BYTES_MAX = CHUNK_BYTES_BULK + 4 * KIB
"""One sealed record: a bulk chunk, or joined small frames."""
CALLS_PER_CONNECTION_MAX = 256

HANDSHAKE_BYTES_MAX = 8 * KIB
"""A handshake message: two keys, a signature and a certificate chain."""

CONTACTS_PER_REPLY_MAX = 16
"""k: 16 IPv6 contacts with their keys are about 900 B."""
KNOWN_BYTES_MAX = 4 + 2 * 64
"""A salt and two bytes for each contact that an answer need not name."""
UPDATES_PER_GOSSIP_MAX = 8
ACCUSATIONS_PER_GOSSIP_MAX = 8
LOADS_PER_GOSSIP_MAX = 9
SUMMARY_ENTRIES_MAX = 60
"""Of 16 bytes: one datagram of a push-pull."""
WANTED_MAX = 64
GLIMPSES_MAX = 34
"""Of 30 bytes: one datagram of the wide view."""
MODULES_PER_LOAD_MAX = 8
RECORD_PAYLOAD_BYTES_MAX = 1000
"""A signed DHT record's payload; COSE adds 75 B, the envelope of an answer up to 55."""
SIGNED_BYTES_MAX = RECORD_PAYLOAD_BYTES_MAX + 96
"""A DHT record with its signature."""
RECORDS_PER_REPLY_MAX = 8
ADDRESSES_MAX = 4

NAME_CHARS_MAX = 64
TENSOR_NAME_CHARS_MAX = 128
"""Exporters write paths as names: `model/block_1/attention/output:0`."""
TEXT_CHARS_MAX = 1024
CODE_CHARS_MAX = 16
REASONS_MAX = 32
"""The lines under a failure; with `REASON_CHARS_MAX` they fit a header in any script."""
REASON_CHARS_MAX = 256
TENSORS_MAX = 32
RANK_MAX = 16
PIECE_BYTES = 256 * KIB
"""One piece of a blob: 16 leaves of 16 KiB (BEP 52); one peer answers for one piece."""
LEAF_BYTES = 16 * KIB
BLOB_BYTES_MAX = 2048 * MIB
PIECES_MAX = BLOB_BYTES_MAX // PIECE_BYTES
HEAD_BYTES_MAX = 64 * KIB
"""A module's head: wasm header, signature section and metadata section."""
CATALOG_ENTRIES_MAX = 128
BLOBS_PER_ASK_MAX = 64
SOURCES_MAX = 64
"""Peers that a fetch took bytes from: more than the providers of any one fetch."""
ADMISSION_MEMBERS_MAX = 32
SEEDS_MAX = 16
CERTIFICATE_CHAIN_MAX = 6
CERTIFICATE_BYTES_MAX = 512
FORWARD_HOPS_MAX = 1
DIGEST_BYTES = 16
"""What two members compare of a list before one sends it."""
REVOKED_BYTES_MAX = MIB
RECONCILED_BYTES_MAX = MIB
"""Three keys and 1,024 revocations with their admins' certificates are 0.4 MB."""

HEDGE_MS_MAX = 60_000
"""A request may say that it is to go to a second node after this at most."""
