"""Our signed records against independent COSE libraries, both ways: `just interop`.

They run in a Python of their own, named by INTEROP_PYTHON: see `cose_oracle.py` for the reason.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from meshnode.caps import Caps
from meshnode.dht.records import NodeRecord
from meshnode.dht.records import sign as sign_record
from meshnode.identity.cose import sign1, split1, verify1
from meshnode.identity.keyring import RingKey, Stage
from meshnode.identity.keys import Identity
from meshnode.identity.mesh import found
from meshnode.identity.orders import sign_order
from meshnode.identity.revocations import revoke
from meshnode.ids import Address

PYTHON = os.environ.get("INTEROP_PYTHON", sys.executable)
ORACLE = Path(__file__).with_name("cose_oracle.py")
PACKAGES = {"pycose": "pycose", "cwt": "cwt"}
"""Each library with what pip calls it."""
ADMIN = Identity.from_seed(b"\x01" * 32)
NOW = 1_800_000_000
NODE_AAD = b"meshnode/record/node/1"
MESH, _ = found(ADMIN, "home", NOW)


def missing(library: str) -> str:
    """Why a library cannot be asked, or nothing."""
    done = subprocess.run(
        [PYTHON, "-c", f"import {library}, cbor2; assert cbor2.loads(b'\\xd2\\x80')"],
        capture_output=True,
        check=False,
        text=True,
    )
    if done.returncode == 0:
        return ""
    return f"{PYTHON} has no working {PACKAGES[library]}: just interop"


def ask(library: str, identity: Identity, aad: bytes, record: bytes) -> tuple[bytes, bytes | None]:
    """Return what the library signs over the record's payload, and what it verifies out of it."""
    given = {
        "seed": identity.seed,
        "public": identity.public_key,
        "aad": aad,
        "payload": split1(record)[0],
        "record": record,
    }
    done = subprocess.run(
        [PYTHON, str(ORACLE), library],
        input=json.dumps({name: value.hex() for name, value in given.items()}),
        capture_output=True,
        check=True,
        text=True,
    )
    said = json.loads(done.stdout)
    return bytes.fromhex(said["signed"]), said["verified"] and bytes.fromhex(said["verified"])


def records() -> dict[str, tuple[bytes, bytes]]:
    """Each kind of signed record with its external data."""
    key = RingKey(epoch=1, key=b"k" * 32, stage=Stage.USE)
    subject = Identity.from_seed(b"\x02" * 32).public_key
    node = NodeRecord(
        network=MESH.network,
        public_key=ADMIN.public_key,
        addresses=(Address("192.0.2.1", 7000),),
        name="pi",
        caps=Caps.CPU,
        seq=7,
        ttl_s=60,
    )
    return {
        "key order": (
            b"meshnode/key-order/1",
            sign_order(ADMIN, MESH.chain, MESH.network, key).order,
        ),
        "revocation": (
            b"meshnode/revocation/1",
            revoke(
                ADMIN, MESH.chain, MESH.network, subject, name="x", reason="y", now_unix=NOW
            ).signed,
        ),
        "node record": (NODE_AAD, sign_record(ADMIN, node)),
        "any": (b"meshnode/test/1", sign1(ADMIN, bytes(1000), aad=b"meshnode/test/1")),
    }


@pytest.mark.parametrize("library", PACKAGES)
@pytest.mark.parametrize("kind", ["key order", "revocation", "node record", "any"])
def test_a_library_verifies_ours_and_we_verify_its(library: str, kind: str) -> None:
    reason = missing(library)
    if reason:
        pytest.skip(reason)
    aad, record = records()[kind]
    payload = split1(record)[0]
    signed, verified = ask(library, ADMIN, aad, record)
    assert verified == payload
    assert verify1(signed, ADMIN.public_key, aad=aad) == payload
    assert signed == record, "Ed25519 is deterministic and the form is canonical"
    changed = bytearray(record)
    changed[-1] ^= 1
    assert ask(library, ADMIN, aad, bytes(changed))[1] is None
    assert ask(library, ADMIN, b"another purpose", record)[1] is None
