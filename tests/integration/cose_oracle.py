"""Signs and verifies COSE_Sign1 with independent libraries, in a process of its own.

Both work with an older cbor2 than meshnode's only, so they cannot be installed beside it. This file
imports nothing of meshnode: `python cose_oracle.py pycose|cwt` reads a JSON object of hex values
from stdin (seed, public, aad, payload, record) and prints what the library signed over payload,
and what it verified out of record, or null.
"""

import json
import sys

TAG_SIGN1 = b"\xd2"
"""Both libraries want the tag of COSE_Sign1 (18), which our records leave out."""


def with_pycose(given: dict[str, bytes]) -> tuple[bytes, bytes | None]:
    from pycose.algorithms import EdDSA
    from pycose.headers import Algorithm
    from pycose.keys import OKPKey
    from pycose.keys.curves import Ed25519
    from pycose.messages import Sign1Message

    message = Sign1Message(
        phdr={Algorithm: EdDSA}, payload=given["payload"], external_aad=given["aad"]
    )
    message.key = OKPKey(crv=Ed25519, d=given["seed"], x=given["public"])
    signed = message.encode(tag=False)
    theirs = Sign1Message.decode(TAG_SIGN1 + given["record"])
    theirs.external_aad = given["aad"]
    theirs.key = OKPKey(crv=Ed25519, x=given["public"])
    return signed, theirs.payload if theirs.verify_signature() else None


def with_cwt(given: dict[str, bytes]) -> tuple[bytes, bytes | None]:
    from cwt import COSE, COSEKey

    own = COSEKey.new({1: 1, -1: 6, 3: -8, -2: given["public"], -4: given["seed"]})
    signed = COSE.new().encode(given["payload"], own, protected={1: -8}, external_aad=given["aad"])
    assert signed.startswith(TAG_SIGN1)
    public = COSEKey.new({1: 1, -1: 6, 3: -8, -2: given["public"]})
    try:
        payload = COSE.new().decode(TAG_SIGN1 + given["record"], public, external_aad=given["aad"])
    except Exception:
        payload = None
    return signed[len(TAG_SIGN1) :], payload


def main() -> None:
    given = {name: bytes.fromhex(value) for name, value in json.load(sys.stdin).items()}
    signed, verified = {"pycose": with_pycose, "cwt": with_cwt}[sys.argv[1]](given)
    print(json.dumps({"signed": signed.hex(), "verified": verified and verified.hex()}))


if __name__ == "__main__":
    main()
