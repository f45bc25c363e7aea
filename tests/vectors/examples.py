"""One example of each message, with telling values: what `tests/vectors/*.json` is written from.

Families are the sections of `docs/protocol.md`. Changing an example changes the page's blocks;
changing the bytes of an unchanged example changes the protocol.
"""

from dataclasses import replace

from meshnode.caps import Caps
from meshnode.constraints import UNCONSTRAINED, Constraints, Scope
from meshnode.gossip.glimpses import entry_of
from meshnode.gossip.words import Signatures
from meshnode.identity.keys import Identity
from meshnode.ids import (
    Address,
    Contact,
    ContentHash,
    NetworkId,
    NodeId,
    PublicKey,
    RequestId,
    tag_of,
)
from meshnode.labels import Traits
from meshnode.reach import beacon, opening
from meshnode.wire import messages as m
from meshnode.wire import reach
from meshnode.wire.codec import Envelope
from meshnode.wire.excerpts import excerpt
from meshnode.wire.terms import Terms
from meshnode.wire.urgency import INTERACTIVE, Urgency

ALICE = Contact(PublicKey(bytes([0xA1] * 32)), Address("192.0.2.1", 7001))
BOB = Contact(PublicKey(bytes([0xB0] * 32)), Address("2001:db8::b0", 7002))
CAROL = Contact(PublicKey(bytes([0xCA] * 32)), Address("carol.example", 7003))
ALICE_ID = NodeId(bytes([0x1A] * 32))
MODULE = ContentHash(bytes([0x3D] * 32))
ROOT = bytes([0x70] * 32)
REQUEST = RequestId(bytes(range(16)))
RECORD = bytes.fromhex("8443a10127a0") + b"\x44demo" + b"\x58\x40" + bytes([0x5E] * 64)
"""COSE_Sign1 in form; who reads a record verifies it, the codec does not."""
NETWORK = bytes([0x4E] * 16)
GIVEN, HELD = bytes([0xC0] * 8), bytes([0xC1] * 8)

LOAD = m.LoadRecord(
    node=tag_of(ALICE_ID),
    sequence=(1_700_000_000 << 18) + 5,
    age_ms=120,
    wait=84,
    wait_mean=60,
    wait_sigma=22,
    in_flight=3,
    draining=False,
    speed=310,
    modules=(m.ModuleLoad(module=tag_of(MODULE), warm=True, first=9, unit=4, each=70),),
)
TWO = replace(
    LOAD,
    modules=(
        *LOAD.modules,
        m.ModuleLoad(module=tag_of(ROOT), warm=True, first=400, unit=150, waits=True),
    ),
)
TOLD = excerpt(TWO, 1)
"""The second of two modules; requests of it wait."""
UNTOLD = excerpt(TWO, 0, 0)
SPOKEN = replace(LOAD, node=m.UNNAMED)
DAVE_KEYS = Identity.from_seed(bytes([0xDA] * 32))
ERIN_KEYS = Identity.from_seed(bytes([0xE1] * 32))
DAVE = Contact(DAVE_KEYS.public_key, Address("2001:db8::da", 7004))
"""Words and accusations verify: these two have the keys of the seeds da..da and e1..e1."""
DAVE_LIVES = Signatures(DAVE_KEYS, NetworkId(NETWORK)).signed(
    m.MemberUpdate(
        contact=DAVE,
        state=0,
        incarnation=7,
        name="dave",
        caps=Caps.CPU | Caps.NN,
        traits=Traits((("site", "hall-3"), ("tier", "edge")), 512, 4096),
    )
)
DAVE_ACCUSED = Signatures(ERIN_KEYS, NetworkId(NETWORK)).accuse(DAVE.node_id, 7)
IMAGE = m.TensorHeader(name="images", dtype="float32", shape=(1, 1, 2, 2), size=16)
FLAGS = m.TensorHeader(name="flags", dtype="bool", shape=(3,), size=3)
ONES = bytes.fromhex("0000803f") * 4

DATAGRAMS: dict[str, dict[str, Envelope]] = {
    "membership": {
        "ping": Envelope(
            message=m.Ping(sequence=41, updates=(DAVE_LIVES,), loads=(LOAD,)), issued=GIVEN
        ),
        "ack": Envelope(message=m.Ack(sequence=41), issued=GIVEN, returned=HELD),
        "ping-request": Envelope(
            message=m.PingRequest(sequence=42, target=CAROL),
            returned=HELD,
        ),
        "gossip": Envelope(
            message=m.Gossip(updates=(DAVE_LIVES,), accusations=(DAVE_ACCUSED,)), returned=HELD
        ),
        "nack": Envelope(message=m.Nack(sequence=42), returned=HELD),
        "digest": Envelope(message=m.Digest(parts=bytes(range(256))), returned=HELD),
        "summary": Envelope(
            message=m.Summary(
                parts=bytes([5]), entries=tag_of(DAVE.node_id) + (7).to_bytes(8, "big")
            ),
            returned=HELD,
        ),
        "want": Envelope(message=m.Want(tags=tag_of(DAVE.node_id)), returned=HELD),
        "glimpses": Envelope(
            message=m.Glimpses(entries=entry_of(tag_of(ALICE_ID), LOAD)), returned=HELD
        ),
        "subscribe": Envelope(message=m.Subscribe(sequence=43, wanted=True), returned=HELD),
    },
    "dht": {
        "find-node": Envelope(message=m.FindNode(rpc=2**63 + 1, target=MODULE), returned=HELD),
        "found-nodes": Envelope(
            message=m.FoundNodes(rpc=2**63 + 1, contacts=(ALICE, BOB, CAROL)),
            issued=GIVEN,
            returned=HELD,
        ),
        "get-records": Envelope(message=m.GetRecords(rpc=9, key=ROOT), network=NETWORK),
        "found-records": Envelope(
            message=m.FoundRecords(rpc=9, records=(RECORD,), contacts=(ALICE,), more=False),
            network=NETWORK,
            issued=GIVEN,
        ),
        "put-record": Envelope(message=m.PutRecord(rpc=10, record=RECORD), returned=HELD),
        "put-reply": Envelope(message=m.PutReply(rpc=10, kept=True)),
    },
}

CALLS: dict[str, dict[str, m.StreamMessage]] = {
    "predict": {
        "predict": m.Predict(
            request_id=REQUEST,
            module=MODULE,
            source="camera-3",
            budget_ms=1500,
            hops_left=1,
            terms=Terms(alternative=425, refusals=1),
            urgency=Urgency(priority=INTERACTIVE, age_ms=40),
            constraints=Constraints((("tier", "edge"),), Scope.SITE),
            load=replace(UNTOLD, node=m.UNNAMED),
            tensors=(FLAGS, IMAGE),
            body=(b"\x01\x00\x01" + bytes(5) + ONES,),
        ),
        "prediction": m.Prediction(
            request_id=REQUEST,
            served_by=ALICE_ID,
            module=MODULE,
            tensors=(m.TensorHeader(name="label", dtype="int64", shape=(1,), size=8),),
            timing=m.Timing(queue_us=250, run_us=1900, model_us=1400),
            batch=2,
            load=SPOKEN,
            body=((7).to_bytes(8, "little"),),
        ),
        "failure": m.Failure(
            code="MN-502",
            message="the queue of 'digits' is full",
            because=("64 requests wait", "the oldest for 910 ms"),
            retry_after_ms=1040,
        ),
        "idle-call": m.IdleCall(load=replace(TOLD, node=m.UNNAMED), room=8),
        "idle-reply": m.IdleReply(given=2, load=replace(UNTOLD, node=m.UNNAMED)),
        "intent": m.Intent(
            request_id=REQUEST,
            module=MODULE,
            source="camera-3",
            budget_ms=1500,
            terms=Terms(alternative=425, refusals=1),
            urgency=Urgency(priority=INTERACTIVE, age_ms=40),
            constraints=UNCONSTRAINED,
            load=None,
            tensors=(FLAGS, IMAGE),
        ),
        "granted": m.Granted(load=SPOKEN),
        "load-ping": m.LoadPing(),
        "load-ping-silent": m.LoadPing(silent=LOAD.node),
        "load-pong": m.LoadPong(load=SPOKEN),
        "given-up": m.Failure(
            code="MN-508", message="an idle node asked for it", load=SPOKEN, instead=LOAD.node
        ),
    },
    "modules": {
        "describe": m.Describe(module=MODULE),
        "description": m.Description(
            module=MODULE,
            size=1_234_567,
            root=ROOT,
            publisher_chain=(b"certificate 1", b"certificate 2"),
            body=(b"\0asm\x01\0\0\0head",),
        ),
        "ask-held": m.AskHeld(blobs=(MODULE, ContentHash(ROOT))),
        "held": m.Held(held=(True, False)),
        "get-piece-hashes": m.GetPieceHashes(blob=MODULE),
        "piece-hashes": m.PieceHashes(
            blob=MODULE, size=300_000, root=ROOT, body=(bytes([1] * 32 + [2] * 32),)
        ),
        "get-piece": m.GetPiece(blob=MODULE, index=1),
        "piece": m.Piece(blob=MODULE, index=1, body=(b"the last piece is shorter",)),
        "hold": m.Hold(module=MODULE),
        "holding": m.Holding(module=MODULE, sources=((ALICE_ID, 262_144),)),
        "list-modules": m.ListModules(),
        "catalog": m.Catalog(
            entries=(
                m.CatalogEntry(
                    module=MODULE,
                    name="digits",
                    version="1.0.0",
                    publisher=ALICE.public_key,
                    size=1_234_567,
                    warm=True,
                ),
            )
        ),
    },
    "admission": {
        "join": m.Join(name="kitchen-pi"),
        "admission": m.Admission(
            mesh_name="home",
            root_key=ALICE.public_key,
            mesh_key=bytes([0x5C] * 32),
            chain=(b"certificate 1",),
            members=(ALICE, BOB),
            seeds=(CAROL,),
        ),
        "reconcile": m.Reconcile(keys=bytes([0x6B] * 16), revocations=bytes([0x7E] * 16)),
        "reconciled": m.Reconciled(
            keys=bytes([0x6B] * 16),
            revocations=bytes([0x7F] * 16),
            body=(bytes.fromhex("828081") + b"\x82\x81\x4bcertificate\x81\x4arevocation",),
        ),
    },
    "reach": {
        "reserve": reach.Reserve(contact=ALICE),
        "reserved": reach.Reserved(ttl_s=60, relay=True, present=(BOB,)),
        "call-back": reach.CallBack(target=ALICE_ID, port=7001),
        "passed": reach.Passed(),
        "dial-back": reach.DialBack(contact=BOB),
        "open-circuit": reach.OpenCircuit(target=ALICE_ID),
        "circuit": reach.Circuit(token=bytes([0x70] * 32)),
        "offer-circuit": reach.OfferCircuit(token=bytes([0x70] * 32), caller=BOB.public_key),
        "examine": reach.Examine(port=7001, token=bytes([0x70] * 32)),
        "examined": reach.Examined(
            reached=False,
            because="connection refused",
            host="192.0.2.1",
            heard_ms=250,
            unix_ms=1_700_000_000_000,
            version="0.1.0",
        ),
        "carry": reach.Carry(contact=ALICE, body=(b"a sealed datagram",)),
        "meet": reach.Meet(target=ALICE_ID),
        "offer-meeting": reach.OfferMeeting(token=bytes([0x70] * 32), caller=BOB.public_key),
        "where-is": reach.WhereIs(token=bytes([0x70] * 32)),
        "seen": reach.Seen(contact=BOB),
        "compare-expelled": reach.CompareExpelled(revocations=bytes([0x7E] * 16)),
        "expelled-compared": reach.ExpelledCompared(
            revocations=bytes([0x7F] * 16),
            body=(b"\x81\x82\x81\x4bcertificate\x81\x4arevocation",),
        ),
    },
}


LAN = {
    "beacon": beacon.encode(
        beacon.Beacon(
            network=NetworkId(bytes([0x4E] * 16)),
            public_key=ALICE.public_key,
            port=7001,
            mesh_name="home",
        ),
        bytes([0x5C] * 32),
    ),
    "who-is-here": beacon.question(),
    "opening": opening.encode(opening.Opening(7001, "home")),
}
"""What is said on the LAN; the mesh key of the beacon is 32 times 5c."""


def _predict(body_size: int, tensors: str, hops: str = "01") -> str:
    """Return the header of a Predict with this list of tensors."""
    terms, asked = "84" + "1affffffff" + "0000f4", "828002" + "f6"
    head = f"8c01{body_size:02x}50{'00' * 16}5820{'3d' * 32}6000{hops}{terms}"
    return f"{head}820100{asked}{tensors}"


_TENSOR = "8184" + "6161" + "67666c6f61743332" + "8102"
"""A list of one tensor "a", float32, shape [2]; its size follows."""

REFUSED_DATAGRAMS: dict[str, tuple[str, str]] = {
    "another version": ("88020a4040404009f5", "version"),
    "unknown number": ("8801186340404040" + "09f5", "unknown number 99"),
    "cookie of seven bytes": ("88010a4047" + "41" * 7 + "404009f5", "issued"),
    "a field too many": ("8a010a4040404009f500f5", "list of 3 fields"),
    "trailing byte": ("89010a4040404009f50000", "canonical"),
    "number in the long form": ("89010a404040401809f500", "canonical"),
    "true as a number": ("89010a40404040f5f500", "rpc"),
    "target of 2 bytes": ("8a010540404040094200000040", "target"),
}
"""Name: hex, and a word that our refusal contains."""

REFUSED_CALLS: dict[str, tuple[str, str, str]] = {
    "unknown number": ("82186300", "", "unknown number 99"),
    "a body where none may be": ("820e01", "00", "body"),
    "another body than came": ("820e00", "00", "body"),
    "tensor smaller than its shape": (_predict(8, _TENSOR + "04"), "00" * 8, "its shape [2]"),
    "body longer than its tensors": (_predict(16, _TENSOR + "08"), "00" * 16, "announces 8"),
    "two tensors of one name": (
        _predict(16, "82" + (_TENSOR[2:] + "08") * 2),
        "00" * 16,
        "two tensors",
    ),
    "unknown data policy": (
        _predict(8, _TENSOR + "08").replace("828002", "828003"),
        "00" * 8,
        "constraints.data",
    ),
    "second hop": (_predict(8, _TENSOR + "08", hops="02"), "00" * 8, "hops_left"),
}
"""Name: header, body, and a word that our refusal contains."""
